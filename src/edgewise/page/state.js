// What is shown: the data, the choices made on the page, and what follows from them.

const data = JSON.parse(document.getElementById("data").textContent);
const graph = makeGraph(data.graph);
const index = indexEdges(graph, data.edges);

const flagged = (kept) => {
  const flags = new Uint8Array(index.n);
  if (Array.isArray(kept)) for (const place of kept) flags[place] = 1;
  else flags.fill(1, 0, kept);
  return flags;
};
const circuit = { kept: flagged(data.kept) };
circuit.n = total(circuit.kept);
const other = data.other ? { ...data.other, kept: flagged(data.other.kept) } : null;

const state = {
  k: null, // the best k of the ranking; null is the saved circuit
  side: other ? "diff" : "left", // "left" | "right" | "diff"
  dead: false,
  kinds: Object.fromEntries(KINDS.map((kind) => [kind, true])),
  parts: { shared: true, left: true, right: true },
  from: 0, // readers' layers; the logits belong to the last
  to: graph.L - 1,
  least: null, // score (or magnitude)
  selected: null, // component
  hovered: null,
  path: null, // places of the edges of a chosen path
  steps: null, // its components
  metric: null,
  tab: null,
};

const score = (place) => (data.scores ? data.scores[place] : null);
const strength = (place) => (data.by === "magnitude" ? Math.abs(score(place)) : score(place));
const kindOf = (place) => graph.readers[index.reader[place]].kind;

// The edges on show under the present choices. `drawn` are places in the ranking's order.
function makeScene() {
  const { k, side, dead } = state;
  const left = k === null ? circuit.kept : flagged(k);
  const leftAlive = aliveEdges(graph, index, left);
  const right = other ? other.kept : null;
  const rightAlive = other ? aliveEdges(graph, index, right) : null;
  const kept = new Uint8Array(index.n);
  const alive = new Uint8Array(index.n);
  const parts = { shared: 0, left: 0, right: 0 };
  for (let place = 0; place < index.n; place++) {
    const l = left[place] && side !== "right";
    const r = right && right[place] && side !== "left";
    kept[place] = l || r ? 1 : 0;
    alive[place] = (l && leftAlive[place]) || (r && rightAlive[place]) ? 1 : 0;
    if (right && (left[place] || right[place])) parts[partOf(left, right, place)]++;
  }
  const byKind = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  const byPart = { shared: 0, left: 0, right: 0 };
  const drawn = [];
  const visible = new Uint8Array(index.n);
  for (let place = 0; place < index.n; place++) {
    if (!alive[place] && !(dead && kept[place])) continue;
    const reader = graph.readers[index.reader[place]];
    byKind[reader.kind]++;
    if (side === "diff") byPart[partOf(left, right, place)]++;
    const layer = Math.min(reader.layer, graph.L - 1);
    if (!state.kinds[reader.kind] || layer < state.from || layer > state.to) continue;
    if (side === "diff" && !state.parts[partOf(left, right, place)]) continue;
    if (state.least !== null && data.scores && strength(place) < state.least) continue;
    drawn.push(place);
    visible[place] = 1;
  }
  return {
    left,
    right,
    kept,
    alive,
    drawn,
    visible,
    byKind,
    byPart,
    parts,
    n: total(kept),
    nAlive: total(alive),
    nLeft: total(left),
    part: (place) => partOf(left, right, place),
  };
}

function partOf(left, right, place) {
  if (!right) return "left";
  return left[place] ? (right[place] ? "shared" : "left") : "right";
}

let scene = makeScene();
const watchers = []; // called with what changed, once a frame
let pending = null;

const SCENE = new Set(["k", "side", "dead", "kinds", "parts", "from", "to", "least"]);

function change(changes) {
  Object.assign(state, changes);
  if (pending === null) {
    pending = new Set();
    requestAnimationFrame(apply);
  }
  for (const key of Object.keys(changes)) pending.add(key);
}

function apply() {
  const changed = pending;
  pending = null;
  if ([...changed].some((key) => SCENE.has(key))) {
    changed.add("scene");
    scene = makeScene();
  }
  for (const watch of watchers) watch(changed);
}

// --- faithfulness at a density -------------------------------------------------------------------

const METRICS = {
  kl: "KL divergence",
  exact_match: "Exact match",
  accuracy: "Accuracy",
  logit_difference: "Logit difference",
  probability_difference: "Probability difference",
  probability_difference_10: "Probability difference within 10",
  kendall_tau: "Kendall’s τ",
  kl_p95: "KL, 95th percentile",
  kl_max: "KL, maximum",
  exact_match_right: "Exact match where the model is right",
  exact_match_wrong: "Exact match where the model is wrong",
};
const SHORT = {
  kl: "KL",
  exact_match: "Exact match",
  accuracy: "Accuracy",
  logit_difference: "Logit diff.",
  probability_difference: "Prob. diff.",
};
const FRACTIONS = new Set(["exact_match", "accuracy", "exact_match_right", "exact_match_wrong"]);
const metricName = (metric) =>
  METRICS[metric] || metric.charAt(0).toUpperCase() + metric.slice(1).replaceAll("_", " ");
const metricShort = (metric) => SHORT[metric] || metricName(metric);

const isNumber = (value) => typeof value === "number";

const rows = data.report ? data.report.rows : {};
const curve = (data.report && data.report.curves[data.by]) || []; // of the slider's own ranking
const named = new Set(Object.values(rows).flatMap((row) => Object.keys(row.metrics)));
const metrics = [
  ...Object.keys(METRICS).filter((metric) => named.has(metric)),
  ...[...named].filter((metric) => !METRICS[metric]),
];
const mainMetrics = metrics.filter((metric) => SHORT[metric]);
state.metric = metrics[0] || null;

// {value, exact} of a metric at k edges of the ranking, linear in log k between evaluated points.
function atEdges(metric, k) {
  const points = curve.filter((point) => point.metrics[metric]);
  const after = points.findIndex((point) => point.edges >= k);
  if (after < 0) return null;
  if (points[after].edges === k) return { value: points[after].metrics[metric].mean, exact: true };
  if (after === 0) return null;
  const [a, b] = [points[after - 1], points[after]];
  const t = Math.log(k / a.edges) / Math.log(b.edges / a.edges);
  const [from, to] = [a.metrics[metric].mean, b.metrics[metric].mean];
  return { value: (1 - t) * from + t * to, exact: false };
}

// The metrics of what is on show: of the saved circuit as reported, of a ranking by its curve.
function metricsNow() {
  if (state.side !== "left") return {};
  const reported = (metric) => {
    const estimate = rows.circuit && rows.circuit.metrics[metric];
    return estimate ? { value: estimate.mean, exact: true } : null;
  };
  const here = (metric) => (state.k === null ? reported(metric) : atEdges(metric, state.k));
  return Object.fromEntries(
    mainMetrics.map((metric) => [metric, here(metric)]).filter(([, found]) => found),
  );
}

// What is known about a circuit, in words, leaving out what the title says.
const factWords = {
  ablation: "ablation",
  split: "split",
  embeddings: "embeddings",
  prompts: "prompts",
};
const factsText = (facts, without = []) =>
  Object.entries(facts)
    .filter(([key]) => !without.includes(key))
    .map(([key, value]) =>
      key === "seed" ? `seed ${value}` : factWords[key] ? `${value} ${factWords[key]}` : value,
    )
    .join("  ·  ");

// --- numbers in words ----------------------------------------------------------------------------

const grouping = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const count = (n) => grouping.format(n);
const percent = (x, digits = 1) => `${(100 * x).toFixed(digits)}%`.replace("-", "−");
const densityText = (d) => `${Number((100 * d).toPrecision(3))}%`;
const number = (x) => {
  if (!isNumber(x)) return "–";
  const size = Math.abs(x);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) {
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits.replace("-", "−")} × 10${[...power.replace("+", "")].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
  }
  return (size >= 100 ? x.toFixed(0) : String(Number(x.toPrecision(3)))).replace("-", "−");
};
function metricText(metric, x) {
  if (!isNumber(x)) return "–";
  if (FRACTIONS.has(metric)) return percent(x);
  return number(Math.abs(x) < 5e-5 ? 0 : x); // a KL of 1e-8 is rounding
}
