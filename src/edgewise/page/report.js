// The panel's pages about the whole circuit: report, training, samples, attention, difference.

const ROWS = { circuit: "circuit", full: "full model", empty: "no edges", random: "random", eap: "EAP", "eap-ig": "EAP-IG" };
const rowName = (name) => ROWS[name] || name;
const rowColour = (name) => ({ circuit: "var(--ink)", full: "var(--full)", eap: "var(--mlp)" }[name] || "var(--soft)");

let followDensity = () => {}; // moves the line in the present chart to the density on show

function reportPage() {
  if (!data.report) return null;
  watchers.push((changed) => { if (changed.has("scene")) followDensity(); });
  const body = el("div");
  const draw = () => body.replaceChildren(...[metricChoice(draw), metricTable(), edgeTable(), faithfulness()].filter(Boolean));
  draw();
  return body;
}

function metricChoice(draw) {
  if (metrics.length < 2) return null;
  const choose = (metric, back) => {
    state.metric = metric;
    draw();
    byId("page-report").querySelector(back).focus();
  };
  const rest = metrics.filter((metric) => !mainMetrics.includes(metric));
  const more = el("select", { "aria-label": "More metrics", onchange: () => more.value && choose(more.value, "select") },
    el("option", { value: "" }, "more"), rest.map((metric) => el("option", { value: metric, selected: metric === state.metric }, metricName(metric))));
  return el("div", { class: "choices" },
    el("div", { class: "choice", role: "group", "aria-label": "Metric" }, mainMetrics.map((metric) =>
      el("button", {
        type: "button", "aria-pressed": String(metric === state.metric),
        onclick: () => choose(metric, '.choice [aria-pressed="true"]'),
      }, metricShort(metric)))),
    rest.length ? more : null);
}

function metricTable() {
  const estimates = Object.entries(rows).filter(([, row]) => row.metrics[state.metric]).map(([name, row]) => ({ name, ...row.metrics[state.metric] }));
  if (!estimates.length) return null;
  const ends = estimates.flatMap((e) => [e.mean, e.low, e.high]).filter(isNumber);
  const from = FRACTIONS.has(state.metric) ? 0 : Math.min(0, ...ends);
  const to = FRACTIONS.has(state.metric) ? 1 : Math.max(0, ...ends);
  return el("table", { class: "metrics" },
    el("caption", {}, metricName(state.metric), " ", el("span", { class: "soft" }, unit(state.metric))),
    el("tbody", {}, estimates.map(({ name, mean, low, high }) => el("tr", { class: name === "circuit" ? "strong" : "" },
      el("th", { scope: "row" }, rowName(name)),
      el("td", {}, isNumber(mean) ? whisker(mean, low, high, from, to, rowColour(name)) : null),
      el("td", { class: "num" }, metricText(state.metric, mean)),
      el("td", { class: "num soft" }, isNumber(low) && high - low > 5e-5 ? `${metricText(state.metric, low)} – ${metricText(state.metric, high)}` : "")))));
}

const unit = (metric) => ({
  kl: "nats, full model ‖ row; 0 is faithful", kl_p95: "nats", kl_max: "nats", exact_match: "same top answer as the full model",
  accuracy: "right answers", logit_difference: "answer − distractor",
}[metric] || "");

function edgeTable() {
  return el("table", { class: "edges" },
    el("caption", {}, "Edges"),
    el("thead", {}, el("tr", {}, ["", "kept", "alive", "density"].map((name) => el("th", { scope: "col", class: "num" }, name)))),
    el("tbody", {}, Object.entries(rows).map(([name, row]) => el("tr", { class: name === "circuit" ? "strong" : "" },
      el("th", { scope: "row" }, rowName(name)),
      el("td", { class: "num" }, count(row.edges)),
      el("td", { class: "num" }, count(row.edges_alive)),
      el("td", { class: "num" }, densityText(row.density))))));
}

function faithfulness() {
  const metric = state.metric;
  const points = curve.map((point) => [point.edges / graph.nEdges, point[metric]]).filter(([, y]) => isNumber(y));
  const spots = Object.entries(rows).filter(([, row]) => row.edges > 0 && row.metrics[metric]).map(([name, row]) => {
    const { mean, low, high } = row.metrics[metric];
    return { x: row.edges / graph.nEdges, y: mean, low, high, name: rowName(name), colour: rowColour(name), hollow: name !== "circuit" };
  });
  if (!points.length && spots.length < 2) return null;
  const fraction = FRACTIONS.has(metric);
  const plot = chart({
    label: `${metricName(metric)} against density`,
    x: { log: true, name: "density (kept edges / all edges)", format: densityText },
    y: { zero: true, fraction, format: fraction ? (v) => percent(v, 0) : number },
    lines: points.length ? [{ points, colour: "var(--v)", dots: true }] : [],
    spots,
    onPick: data.ranked && curveFits ? (density) => change({ k: Math.max(1, Math.min(data.ranked, Math.round(density * graph.nEdges))) }) : null,
  });
  followDensity = () => plot.moveTo((state.side === "right" ? total(scene.right) : scene.nLeft) / graph.nEdges);
  followDensity();
  return el("figure", {}, el("figcaption", {}, `${metricName(metric)} at every density`,
    points.length ? el("div", { class: "soft" }, `Line: the best edges by ${data.report.curve_by === "magnitude" ? "magnitude of their score" : "score"}. `, data.ranked && curveFits ? "Click to go there." : "") : null), plot.node);
}

// --- training ------------------------------------------------------------------------------------

function trainingPage() {
  const { history } = data;
  if (!history || history.step.length < 2) return null;
  const column = (name) => history.step.map((step, i) => [step, history[name][i]]);
  const x = { name: "step", format: count };
  const figures = [];
  for (const name of ["kl", "loss"].filter((name) => history[name]))
    if (name === "kl" || !history.kl || history.loss.some((v, i) => v !== history.kl[i]))
      figures.push(el("figure", {}, el("figcaption", {}, name === "kl" ? "KL divergence (nats)" : "Loss"),
        chart({ label: `${name} by step`, x, y: { zero: true, format: number }, lines: [{ points: column(name), colour: "var(--v)" }] }).node));
  const densities = ["density", "target"].filter((name) => history[name]);
  if (densities.length)
    figures.push(el("figure", {},
      el("figcaption", {}, "Density", densities.length > 1 ? el("div", { class: "soft" }, "Solid: open gates. Dashed: target.") : null),
      chart({
        label: "density by step", x, y: { log: true, format: densityText },
        lines: densities.map((name) => ({ points: column(name), colour: name === "target" ? "var(--soft)" : "var(--ink)", dash: name === "target" ? "4 3" : null })),
      }).node));
  return figures.length ? el("div", {}, figures) : null;
}

// --- samples -------------------------------------------------------------------------------------

const visible = (text) => text.replaceAll("\n", "⏎").replace(/^ | $/g, "␣");

function predictions(title, tokens, answer) {
  return el("div", { class: "predictions" }, el("h4", {}, title), el("ol", {}, tokens.map(([token, chance]) =>
    el("li", { class: token === answer ? "right" : "" },
      el("span", { class: "token", title: token }, visible(token)),
      el("span", { class: "chance", style: `--p:${(100 * chance).toFixed(1)}%` }),
      el("span", { class: "num" }, percent(chance))))));
}

function samplesPage() {
  const samples = data.report && data.report.samples;
  if (!samples || !samples.length) return null;
  return el("div", {}, samples.map((sample) => el("article", { class: "sample" },
    el("p", { class: "prompt" }, sample.prompt, /^\s*/.exec(sample.answer)[0], el("mark", {}, sample.answer.trimStart())),
    sample.corrupted ? el("p", { class: "prompt soft" }, el("span", { class: "tag" }, "paired with"), " ", sample.corrupted) : null,
    el("div", { class: "pair" }, predictions("full model", sample.full || [], sample.answer), predictions("circuit", sample.circuit || [], sample.answer)))));
}

// --- attention -----------------------------------------------------------------------------------

function attentionPage() {
  const patterns = data.attention;
  if (!patterns.length) return null;
  const name = (p) => `a${p.layer}.h${p.head}`;
  const body = el("div");
  const heads = [...new Set(patterns.map(name))];
  const choose = el("select", { "aria-label": "Head", onchange: () => show(choose.value) }, heads.map((head) => el("option", {}, head)));
  const show = (head) => {
    choose.value = head;
    body.replaceChildren(...patterns.filter((p) => name(p) === head).map((p) => {
      const reading = el("p", { class: "soft reading" }, "Point at a square.");
      const tell = (text) => { reading.textContent = text; };
      return el("article", { class: "sample" }, el("p", { class: "prompt" }, p.tokens.join("")),
        el("div", { class: "pair" }, ["full", "circuit"].map((side) => el("div", {},
          el("h4", {}, side === "full" ? "full model" : "circuit"), heatmap(`${head}, ${side}`, p.tokens, p[side], tell)))), reading);
    }));
  };
  show(heads[0]);
  watchers.push((changed) => {
    const head = state.selected === null ? null : graph.components[state.selected].name;
    if (changed.has("selected") && heads.includes(head)) show(head);
  });
  return el("div", {}, el("p", {}, choose, " ", el("span", { class: "soft" }, "rows attend to columns")), body);
}

// --- difference ----------------------------------------------------------------------------------

function differencePage() {
  if (!other) return null;
  const body = el("div", { id: "difference" });
  const draw = () => {
    const { shared, left, right } = scene.parts;
    const [n, m] = [shared + left, shared + right];
    const union = shared + left + right;
    const expected = (n * m) / graph.nEdges;
    const saved = state.k === null;
    const line = (term, value, id) => [el("dt", {}, term), el("dd", { id: id || null, class: "num" }, value)];
    body.replaceChildren(
      el("table", { class: "edges" }, el("caption", {}, "Kept edges"), el("tbody", {},
        [["shared", "in both", shared], ["left", `only ${sideName("left")}`, left], ["right", `only ${sideName("right")}`, right]].map(([part, words, value]) =>
          el("tr", {}, el("th", { scope: "row" }, el("i", { class: "swatch", style: `background:var(--${part})` }), words),
            el("td", { class: "num", id: `n-${part}` }, count(value)), el("td", { class: "num soft" }, union ? percent(value / union) : "–"))))),
      el("dl", { class: "facts" },
        line("in either", count(union), "n-union"), line("intersection / union", number(union ? shared / union : 1), "iou"),
        line("expected by chance", number(expected), "expected"), line("times chance", expected ? `${number(shared / expected)}×` : "–", "times"),
        line("p (as many by chance)", saved ? probability(other.overlap.p_value) : "–")),
      el("p", { class: "soft" }, `Chance: two random circuits of ${count(n)} and ${count(m)} of ${count(graph.nEdges)} edges (hypergeometric).`),
      ...["left", "right"].map((side) => {
        const facts = side === "left" ? data.facts : other.facts;
        return el("p", {}, el("strong", {}, sideName(side)), " ", el("span", { class: "soft" }, factsText(facts)));
      }));
  };
  draw();
  watchers.push((changed) => { if (changed.has("scene")) draw(); });
  return body;
}

const probability = (p) => (p < 1e-300 ? "< 10⁻³⁰⁰" : number(p));
const sideName = (side) => {
  const same = data.label === other.label;
  return side === "left" ? (same ? "left" : data.label) : same ? "right" : other.label;
};
