// Slider, legend, filters, search and tabs.

// --- density -------------------------------------------------------------------------------------

// The slider's stops: every small number, then steps of 1.5%, and whatever was evaluated or saved.
const evaluated = curve.filter((point) => point.edges <= data.ranked);
const stops = (() => {
  const found = new Set([data.ranked, Math.min(circuit.n, data.ranked)]);
  for (let k = 1; k <= data.ranked; k = Math.max(k + 1, Math.round(k * 1.015))) found.add(k);
  for (const point of evaluated) found.add(point.edges);
  return [...found].filter((k) => k > 0).sort((a, b) => a - b);
})();
const stopOf = (k) => {
  const after = stops.findIndex((stop) => stop >= k);
  return after < 0 ? stops.length - 1 : after;
};

function setUpDensity() {
  const slider = byId("slider");
  const k = byId("k");
  if (!data.ranked) {
    byId("slider-box").hidden = true;
    byId("density").hidden = !other;
  } else {
    slider.max = stops.length - 1;
    k.max = data.ranked;
    slider.addEventListener("input", () => change({ k: stops[slider.value] }));
    k.addEventListener("change", () => {
      if (k.value !== "")
        change({ k: Math.max(0, Math.min(data.ranked, Math.round(Number(k.value)))) });
    });
    const tick = (edges, kind, title) =>
      el("i", { class: kind, title, style: `--at:${stopOf(edges) / (stops.length - 1)}` });
    byId("ticks").append(
      ...evaluated.map((point) =>
        tick(point.edges, "evaluated", `evaluated at ${count(point.edges)} edges`),
      ),
      ...(circuit.n <= data.ranked && circuit.n
        ? [tick(circuit.n, "circuit", `the circuit: ${count(circuit.n)} edges`)]
        : []),
    );
  }
  byId("saved").addEventListener("click", () => change({ k: null }));
  if (other) {
    const sides = byId("sides");
    sides.hidden = false;
    sides.append(
      ...[
        ["left", sideName("left")],
        ["diff", "difference"],
        ["right", sideName("right")],
      ].map(([side, words]) =>
        el("button", { type: "button", "data-side": side, onclick: () => change({ side }) }, words),
      ),
    );
  }
  showDensity();
  watchers.push((changed) => {
    if (changed.has("scene")) showDensity();
  });
}

function showDensity() {
  const n = state.k ?? circuit.n;
  const slider = byId("slider");
  if (data.ranked) {
    const stop = stopOf(n);
    if (Number(slider.value) !== stop) slider.value = stop;
    slider.style.setProperty("--fill", `${(100 * stop) / (stops.length - 1)}%`);
    slider.setAttribute("aria-valuetext", `${count(n)} edges, ${densityText(n / graph.nEdges)}`);
    if (document.activeElement !== byId("k") || Number(byId("k").value) !== n) byId("k").value = n;
  }
  byId("saved").classList.toggle("away", state.k === null);
  const parts = [
    el("b", { id: "n-edges", "data-n": scene.n }, count(scene.n)),
    ` of ${count(graph.nEdges)} edges `,
    el("span", { class: "soft" }, `${densityText(scene.n / graph.nEdges)} · `),
    el("b", { id: "n-alive", "data-n": scene.nAlive }, count(scene.nAlive)),
    " alive",
  ];
  if (scene.drawn.length !== scene.nAlive)
    parts.push(el("span", { class: "soft" }, ` · ${count(scene.drawn.length)} shown`));
  for (const [metric, { value, exact }] of Object.entries(metricsNow()))
    parts.push(
      el(
        "span",
        { class: "metric", title: exact ? "evaluated" : "between two evaluated densities" },
        el("span", { class: "soft" }, `${metricShort(metric)} `),
        el("b", {}, `${exact ? "" : "≈ "}${metricText(metric, value)}`),
      ),
    );
  byId("count").replaceChildren(...parts);
  for (const button of byId("sides").children)
    button.setAttribute("aria-pressed", String(button.dataset.side === state.side));
  const dead = scene.n - scene.nAlive;
  byId("n-dead").textContent = dead ? count(dead) : "none";
}

// --- legend and filters --------------------------------------------------------------------------

const KIND_WORDS = { q: "queries", k: "keys", v: "values", mlp: "MLPs", logits: "logits" };

function setUpLegend() {
  const chip = (name, words, field) =>
    el(
      "button",
      {
        type: "button",
        class: "chip",
        "data-chip": name,
        "aria-pressed": "true",
        title: `Show or hide: ${words}`,
        onclick: () => change({ [field]: { ...state[field], [name]: !state[field][name] } }),
      },
      el("i", { class: "swatch", style: `background:var(--${name})` }),
      el("span", { class: "word" }, words),
      el("span", { class: "letter" }, name),
      el("span", { class: "num soft" }),
    );
  const group = byId("chips");
  if (other)
    group.append(
      el(
        "span",
        { id: "part-chips" },
        chip("left", sideName("left"), "parts"),
        chip("shared", "both", "parts"),
        chip("right", sideName("right"), "parts"),
      ),
    );
  group.append(
    el(
      "span",
      { id: "kind-chips" },
      el("span", { class: "soft" }, "read by"),
      KINDS.map((kind) => chip(kind, KIND_WORDS[kind], "kinds")),
    ),
  );

  byId("dead").addEventListener("change", (event) => change({ dead: event.target.checked }));
  for (const [id, field] of [
    ["from", "from"],
    ["to", "to"],
  ]) {
    byId(id).max = graph.L - 1;
    byId(id).addEventListener("change", (event) => {
      const value =
        event.target.value === "" ? (id === "from" ? 0 : graph.L - 1) : Number(event.target.value);
      change({ [field]: Math.max(0, Math.min(graph.L - 1, Math.round(value))) });
    });
  }
  byId("least").addEventListener("change", (event) =>
    change({ least: event.target.value === "" ? null : Number(event.target.value) }),
  );
  byId("least-label").hidden = !data.scores;
  if (data.by === "magnitude") byId("least-label").firstChild.textContent = "|score| at least ";
  byId("clear").addEventListener("click", () =>
    change({
      from: 0,
      to: graph.L - 1,
      least: null,
      kinds: Object.fromEntries(KINDS.map((kind) => [kind, true])),
      parts: { shared: true, left: true, right: true },
    }),
  );
  showLegend();
  watchers.push((changed) => {
    if (changed.has("scene")) showLegend();
  });
}

function showLegend() {
  const diff = state.side === "diff";
  for (const button of document.querySelectorAll(".chip")) {
    const name = button.dataset.chip;
    const isKind = KINDS.includes(name);
    button.setAttribute("aria-pressed", String((isKind ? state.kinds : state.parts)[name]));
    button.lastChild.textContent = count((isKind ? scene.byKind : scene.byPart)[name]);
  }
  if (other) byId("part-chips").hidden = !diff;
  byId("kind-chips").classList.toggle("plain", diff);
  byId("dead").checked = state.dead;
  byId("from").value = state.from;
  byId("to").value = state.to;
  byId("least").value = state.least ?? "";
  byId("filters").classList.toggle(
    "on",
    state.from > 0 || state.to < graph.L - 1 || state.least !== null,
  );
}

// --- search --------------------------------------------------------------------------------------

function setUpSearch() {
  const search = byId("search");
  byId("names").append(...graph.components.map(({ name }) => el("option", { value: name })));
  const find = () =>
    graph.byName.get(
      search.value
        .trim()
        .replace(/<[qkv]>$/, "")
        .replace(/^(\d+)\.(\d+)$/, "a$1.h$2"),
    );
  search.addEventListener("input", () => {
    const component = find();
    search.setAttribute(
      "aria-invalid",
      String(search.value.trim() !== "" && component === undefined),
    );
    if (component !== undefined) select(component);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && find() !== undefined) stage.nodes[find()].focus();
  });
}

// --- tabs ----------------------------------------------------------------------------------------

const tabs = [];

function setUpTabs() {
  const pages = [
    ["report", "Report", reportPage()],
    ["difference", "Diff", differencePage()],
    ["component", "Component", componentPage()],
    ["training", "Training", trainingPage()],
    ["samples", "Samples", samplesPage()],
    ["attention", "Attention", attentionPage()],
  ];
  for (const [id, title, body] of pages) {
    if (!body) continue;
    const page = el(
      "div",
      {
        id: `page-${id}`,
        class: "page",
        role: "tabpanel",
        "aria-labelledby": `tab-${id}`,
        tabindex: "0",
      },
      body,
    );
    const tab = el(
      "button",
      {
        type: "button",
        id: `tab-${id}`,
        role: "tab",
        "aria-controls": `page-${id}`,
        onclick: () => openTab(id),
      },
      title,
    );
    tabs.push({ id, tab, page });
    byId("tabs").append(tab);
    byId("pages").append(page);
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const here = tabs.findIndex(({ tab }) => tab === document.activeElement);
    const next = tabs[(here + step + tabs.length) % tabs.length];
    openTab(next.id);
    next.tab.focus();
    event.preventDefault();
  });
  openTab(other ? "difference" : tabs[0].id);
}

function openTab(id) {
  for (const { id: name, tab, page } of tabs) {
    tab.setAttribute("aria-selected", String(name === id));
    tab.setAttribute("tabindex", name === id ? "0" : "-1");
    page.hidden = name !== id;
  }
  change({ tab: id });
}
