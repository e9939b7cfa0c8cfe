// Puts the page together.

const GUIDE = [
  [
    "Rows are layers, from the first at the bottom to the last at the top. Squares are attention heads; the MLPs stand in a column of their own at the right.",
  ],
  [
    "A curve is an edge: what its lower end wrote, its upper end reads. Colour tells how it is read: as queries, keys or values, by an MLP, or by the logits. ",
    data.scores ? "The stronger a curve, the higher its edge ranks by score. " : "",
    "Darker squares have more edges.",
  ],
  graph.G < graph.H
    ? [
        `Keys and values are shared by ${graph.H / graph.G} query heads each: the bar below a group reads its keys (left) and values (right), once for all of them.`,
      ]
    : null,
  [
    "An edge is alive if it lies on a path from the inputs to the logits. Dead edges are hidden at first.",
  ],
  graph.coupled
    ? [
        "A norm spans all heads of a block, so what one of them reads changes what all of them write: paths go on from any.",
      ]
    : null,
  graph.free
    ? ["The embeddings are free: every component reads the input, and no edge stands for it."]
    : null,
  data.ranked
    ? [
        `The density slider keeps the best edges by ${data.by === "magnitude" ? "magnitude of their score" : "score"}, up to ${count(data.ranked)}. Dots below it were evaluated; the bar is the saved circuit. Between two evaluated densities the metrics are interpolated and marked ≈.`,
      ]
    : null,
  [
    "Keys: ",
    ["/", " find · "],
    ["↑ ↓ ← →", " from component to component · "],
    ["Enter", " choose · "],
    ["Esc", " let go · "],
    ["[ ]", " fewer or more edges · "],
    ["d", " dead edges · "],
    ["t", " light or dark · "],
    ["p", " panel"],
  ],
];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  change({ colours: theme });
}

function step(by) {
  if (!data.ranked) return;
  const at = stopOf(state.k ?? circuit.n);
  change({ k: stops[Math.max(0, Math.min(stops.length - 1, at + by))] });
}

function setUpKeys() {
  const toggleTheme = () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  const toggleWide = () => document.body.classList.toggle("wide");
  const guide = byId("guide");
  byId("theme").addEventListener("click", toggleTheme);
  byId("wide").addEventListener("click", toggleWide);
  byId("help").addEventListener("click", () => guide.showModal());
  const keys = {
    "/": () => {
      byId("search").focus();
      byId("search").select();
    },
    "[": () => step(-5),
    "]": () => step(5),
    d: () => change({ dead: !state.dead }),
    t: toggleTheme,
    p: toggleWide,
    "?": () => guide.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !guide.open) {
      if (document.activeElement === byId("search")) byId("search").blur();
      return state.path ? change({ path: null, steps: null }) : select(null);
    }
    const typing = event.target.matches(
      "input:not([type=range]):not([type=checkbox]), select, textarea",
    );
    if (
      typing ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      guide.open ||
      !(event.key in keys)
    )
      return undefined;
    event.preventDefault();
    return keys[event.key]();
  });
  byId("guide-text").append(
    ...GUIDE.filter(Boolean).map((parts) =>
      el(
        "p",
        {},
        parts.flatMap((part) => (Array.isArray(part) ? [el("kbd", {}, part[0]), part[1]] : [part])),
      ),
    ),
  );
}

function start() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  byId("title").textContent = data.title;
  byId("facts").textContent = factsText(data.facts, ["task", "model"]);
  setUpGraph();
  setUpDensity();
  setUpLegend();
  setUpSearch();
  setUpTabs();
  setUpKeys();
  measure();
}

start();

// For the console, and for tests.
window.edgewise = {
  data,
  graph,
  index,
  state,
  change,
  get scene() {
    return scene;
  },
  names: (flags) =>
    [...flags.keys()].filter((place) => flags[place]).map((place) => edgeName(graph, index, place)),
};
