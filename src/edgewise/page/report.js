// The panel's page of the report: metrics, edges, and faithfulness against density.

const ROWS = {
  circuit: "circuit",
  full: "full model",
  empty: "no edges",
  random: "random",
  eap: "EAP",
  "eap-ig": "EAP-IG",
};
const rowName = (name) => ROWS[name] || name;
const rowColour = (name) =>
  ({ circuit: "var(--ink)", full: "var(--full)", eap: "var(--mlp)" })[name] || "var(--soft)";

let followDensity = () => {}; // moves the line in the present chart to the density on show

function reportPage() {
  if (!data.report) return null;
  watchers.push((changed) => {
    if (changed.has("scene")) followDensity();
  });
  const body = el("div");
  const draw = () =>
    body.replaceChildren(
      ...[metricChoice(draw), metricTable(), edgeTable(), faithfulness()].filter(Boolean),
    );
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
  const more = el(
    "select",
    { "aria-label": "More metrics", onchange: () => more.value && choose(more.value, "select") },
    el("option", { value: "" }, "more"),
    rest.map((metric) =>
      el("option", { value: metric, selected: metric === state.metric }, metricName(metric)),
    ),
  );
  return el(
    "div",
    { class: "choices" },
    el(
      "div",
      { class: "choice", role: "group", "aria-label": "Metric" },
      mainMetrics.map((metric) =>
        el(
          "button",
          {
            type: "button",
            "aria-pressed": String(metric === state.metric),
            onclick: () => choose(metric, '.choice [aria-pressed="true"]'),
          },
          metricShort(metric),
        ),
      ),
    ),
    rest.length ? more : null,
  );
}

function metricTable() {
  const estimates = Object.entries(rows)
    .filter(([, row]) => row.metrics[state.metric])
    .map(([name, row]) => ({ name, ...row.metrics[state.metric] }));
  if (!estimates.length) return null;
  const ends = estimates.flatMap((e) => [e.mean, e.low, e.high]).filter(isNumber);
  const from = FRACTIONS.has(state.metric) ? 0 : Math.min(0, ...ends);
  const to = FRACTIONS.has(state.metric) ? 1 : Math.max(0, ...ends);
  return el(
    "table",
    { class: "metrics" },
    el(
      "caption",
      {},
      metricName(state.metric),
      " ",
      el("span", { class: "soft" }, unit(state.metric)),
    ),
    el(
      "tbody",
      {},
      estimates.map(({ name, mean, low, high }) =>
        el(
          "tr",
          { class: name === "circuit" ? "strong" : "" },
          el("th", { scope: "row" }, rowName(name)),
          el("td", {}, isNumber(mean) ? whisker(mean, low, high, from, to, rowColour(name)) : null),
          el("td", { class: "num" }, metricText(state.metric, mean)),
          el(
            "td",
            { class: "num soft" },
            isNumber(low) && high - low > 5e-5
              ? `${metricText(state.metric, low)} – ${metricText(state.metric, high)}`
              : "",
          ),
        ),
      ),
    ),
  );
}

const unit = (metric) =>
  ({
    kl: "nats, full model ‖ row; 0 is faithful",
    kl_p95: "nats",
    kl_max: "nats",
    exact_match: "same top answer as the full model",
    accuracy: "right answers",
    logit_difference: "answer − distractor",
  })[metric] || "";

function edgeTable() {
  return el(
    "table",
    { class: "edges" },
    el("caption", {}, "Edges"),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ["", "kept", "alive", "density"].map((name) => heading(name, "num")),
      ),
    ),
    el(
      "tbody",
      {},
      Object.entries(rows).map(([name, row]) =>
        el(
          "tr",
          { class: name === "circuit" ? "strong" : "" },
          el("th", { scope: "row" }, rowName(name)),
          el("td", { class: "num" }, count(row.edges)),
          el("td", { class: "num" }, count(row.edges_alive)),
          el("td", { class: "num" }, densityText(row.density)),
        ),
      ),
    ),
  );
}

function faithfulness() {
  const metric = state.metric;
  const points = curve
    .filter((point) => point.metrics[metric])
    .map((point) => ({ x: point.edges / graph.nEdges, ...point.metrics[metric] }));
  const spots = Object.entries(rows)
    .filter(([, row]) => row.edges > 0 && row.metrics[metric])
    .map(([name, row]) => {
      const { mean, low, high } = row.metrics[metric];
      return {
        x: row.edges / graph.nEdges,
        y: mean,
        low,
        high,
        name: rowName(name),
        colour: rowColour(name),
        hollow: name !== "circuit",
      };
    });
  if (!points.length && spots.length < 2) return null;
  const fraction = FRACTIONS.has(metric);
  const plot = chart({
    label: `${metricName(metric)} against density`,
    x: { log: true, name: "density (kept edges / all edges)", format: densityText },
    y: { zero: true, fraction, format: fraction ? (v) => percent(v, 0) : number },
    lines: points.length
      ? [
          {
            points: points.map(({ x, mean }) => [x, mean]),
            band: points.map(({ x, low, high }) => [x, low, high]),
            colour: "var(--v)",
            dots: true,
          },
        ]
      : [],
    spots,
    onPick:
      data.ranked
        ? (density) =>
            change({ k: Math.max(1, Math.min(data.ranked, Math.round(density * graph.nEdges))) })
        : null,
  });
  followDensity = () =>
    plot.moveTo((state.side === "right" ? total(scene.right) : scene.nLeft) / graph.nEdges);
  followDensity();
  return el(
    "figure",
    {},
    el(
      "figcaption",
      {},
      `${metricName(metric)} at every density`,
      el("div", { class: "soft" }, points.length ? aboutCurve() : aboutNoCurve()),
    ),
    plot.node,
    areaList(),
  );
}

const ranking = () => (data.by === "magnitude" ? "magnitude of their score" : "score");
const aboutCurve = () =>
  `Line: the best edges by ${ranking()}, with 95% intervals.${data.ranked ? " Click to go there." : ""}`;
const aboutNoCurve = () =>
  data.ranked
    ? ["Only these were measured: ", el("code", {}, "edgewise curve"), " measures the ranking."]
    : "";

const AREAS = {
  cpr: ["CPR", "MIB: integral of faithfulness f over density"],
  cmd: ["CMD", "MIB: integral of |1 − f| over density"],
  f: ["f", "mean over ln(density): f is 0 without edges and 1 for the full model"],
  kl: ["KL", "mean over ln(density), nats"],
  exact_match: ["exact match", "mean over ln(density)"],
  accuracy: ["accuracy", "mean over ln(density)"],
};

// One number each for the curve.
function areaList() {
  if (!data.areas) return null;
  return el(
    "p",
    { class: "areas" },
    el("span", { class: "soft" }, "Area under the curve"),
    Object.entries(AREAS)
      .filter(([name]) => isNumber(data.areas[name]))
      .map(([name, [word, meaning]]) =>
        el("span", { title: meaning }, `${word} `, el("b", {}, number(data.areas[name]))),
      ),
  );
}
