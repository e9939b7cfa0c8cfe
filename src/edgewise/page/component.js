// The panel's page about one component: its edges, and the paths through it.

const MOST_ROWS = 60;

function componentPage() {
  const body = el("div", { id: "component" });
  const draw = () =>
    body.replaceChildren(...(state.selected === null ? overview() : oneComponent(state.selected)));
  draw();
  watchers.push((changed) => {
    if (state.tab === "component" && ["selected", "scene", "tab"].some((key) => changed.has(key)))
      draw();
    if (changed.has("path")) markPath();
  });
  return body;
}

const link = (component, text) =>
  el(
    "button",
    { type: "button", class: "link", onclick: () => select(component) },
    text ?? graph.components[component].name,
  );

// --- nothing chosen: where the edges are ---------------------------------------------------------

function overview() {
  const into = new Int32Array(graph.nWriters + 1);
  const out = new Int32Array(graph.nWriters + 1);
  const layers = new Int32Array(graph.L);
  for (const place of scene.drawn) {
    out[index.writer[place]]++;
    const reader = graph.readers[index.reader[place]];
    for (const component of reader.feeds) into[component]++;
    layers[Math.min(reader.layer, graph.L - 1)]++;
  }
  const busiest = graph.components
    .filter(({ kind, index: i }) => (kind === "head" || kind === "mlp") && into[i] + out[i])
    .sort((a, b) => into[b.index] + out[b.index] - into[a.index] - out[a.index])
    .slice(0, 15);
  return [
    el(
      "p",
      { class: "soft" },
      "Choose a component in the picture, or by name: its edges and paths show up here.",
    ),
    el(
      "table",
      { class: "edges" },
      el("caption", {}, "Most connected"),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["", "in", "out"].map((name) => heading(name, "num")),
        ),
      ),
      el(
        "tbody",
        {},
        busiest.map(({ index: i }) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, link(i)),
            el("td", { class: "num" }, count(into[i])),
            el("td", { class: "num" }, count(out[i])),
          ),
        ),
      ),
    ),
    el("figure", {}, el("figcaption", {}, "Edges read, by layer"), layerBars(layers)),
  ];
}

function layerBars(layers) {
  const most = Math.max(...layers, 1);
  const [w, h] = [392, 74];
  const step = (w - 20) / layers.length;
  const node = svg("svg", {
    class: "chart",
    viewBox: `0 0 ${w} ${h}`,
    role: "img",
    "aria-label": "edges read by each layer",
  });
  layers.forEach((n, layer) => {
    const size = (50 * n) / most;
    const width = Math.min(0.76 * step, 30);
    node.append(
      svg(
        "rect",
        {
          class: "column",
          x: 10 + (layer + 0.5) * step - width / 2,
          y: 56 - size,
          width,
          height: Math.max(size, n ? 1 : 0),
        },
        svg("title", {}, `layer ${layer}: ${count(n)}`),
      ),
    );
    if (layer % Math.ceil(layers.length / 15) === 0)
      node.append(
        svg(
          "text",
          { x: 10 + (layer + 0.5) * step, y: 70, "text-anchor": "middle" },
          String(layer),
        ),
      );
  });
  return node;
}

// --- one component -------------------------------------------------------------------------------

function oneComponent(component) {
  const { name, what } = describe(component);
  const reads = scene.drawn.filter((place) =>
    graph.readers[index.reader[place]].feeds.includes(component),
  );
  const writes = scene.drawn.filter((place) => index.writer[place] === component);
  const hidden = scene.kept.reduce(
    (n, kept, place) => n + (kept && !scene.visible[place] && touches(place, component) ? 1 : 0),
    0,
  );
  return [
    el(
      "div",
      { class: "title" },
      el("h2", {}, name),
      el("span", { class: "soft" }, what),
      el(
        "button",
        {
          type: "button",
          class: "close",
          "aria-label": "Let go of this component",
          onclick: () => select(null),
        },
        "×",
      ),
    ),
    hidden
      ? el(
          "p",
          { class: "soft" },
          `${count(hidden)} more ${hidden === 1 ? "edge is" : "edges are"} dead or filtered out.`,
        )
      : null,
    pathList(component),
    edgeList(
      "in",
      "Reads from",
      reads,
      (place) => index.writer[place],
      (place) => portOf(place, component),
    ),
    edgeList(
      "out",
      "Is read by",
      writes,
      (place) => graph.readers[index.reader[place]].feeds[0],
      (place) => readerName(place),
    ),
  ].filter(Boolean);
}

// "k", or "k of h3" where a kv head has another number than the query head.
function portOf(place, component) {
  const reader = graph.readers[index.reader[place]];
  if (reader.kind === "mlp" || reader.kind === "logits") return "";
  const shared = reader.kind !== "q" && graph.G < graph.H;
  return shared && reader.place !== graph.components[component].place
    ? `${reader.kind} (kv ${reader.place})`
    : reader.kind;
}
const readerName = (place) => graph.readers[index.reader[place]].name;

function edgeList(id, title, places, end, port) {
  const table = el(
    "table",
    { class: "edges list", id: `edges-${id}` },
    el("caption", {}, `${title} `, el("span", { class: "soft" }, count(places.length))),
  );
  if (!places.length) return null;
  const names = ["", id === "in" ? "as" : "", "score", "rank"].slice(0, data.scores ? 4 : 2);
  const row = (place) =>
    el(
      "tr",
      {
        "data-edge": edgeName(graph, index, place),
        class: isDead(place) ? "dead" : "",
        onpointerenter: () => point(place),
        onpointerleave: () => point(null),
      },
      el(
        "th",
        { scope: "row" },
        el("i", {
          class: "swatch",
          style: `background:var(--${isDead(place) ? "dead" : tint(place)})`,
        }),
        link(end(place), id === "in" ? graph.components[index.writer[place]].name : port(place)),
        isDead(place) ? el("span", { class: "soft" }, " dead") : null,
      ),
      el("td", { class: "soft" }, id === "in" ? port(place) : ""),
      data.scores ? el("td", { class: "num" }, number(score(place))) : null,
      data.scores
        ? el("td", { class: "num soft" }, place < data.ranked ? count(place + 1) : "–")
        : null,
    );
  const body = el("tbody", {}, places.slice(0, MOST_ROWS).map(row));
  table.append(
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        names.map((name, i) => heading(name, i > 1 ? "num" : "")),
      ),
    ),
    body,
  );
  if (places.length > MOST_ROWS) {
    const more = el(
      "button",
      {
        type: "button",
        class: "link more",
        onclick: () => {
          body.append(...places.slice(MOST_ROWS).map(row));
          more.remove();
        },
      },
      `Show all ${count(places.length)}`,
    );
    return el("div", {}, table, more);
  }
  return table;
}

// Shows one edge in the picture while the pointer is on its row.
function point(place) {
  change({ path: place === null ? null : [place], steps: null });
}

function pathList(component) {
  const { kind } = graph.components[component];
  const { paths, count: n } = pathsThrough(graph, index, scene.visible, component, 8);
  if (!paths.length)
    return el("p", { class: "soft" }, "No path from the inputs to the logits goes through it.");
  const many = n >= 1e6 ? number(n) : count(n);
  return el(
    "section",
    { class: "paths" },
    el(
      "h3",
      {},
      kind === "input" || kind === "logits" ? "Paths " : "Paths through it ",
      el("span", { class: "soft" }, many),
    ),
    el(
      "p",
      { class: "soft" },
      data.scores ? "Shortest first, then by the ranks of their edges." : "Shortest first.",
    ),
    el(
      "ol",
      {},
      paths.map(({ steps, places }) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              class: "path",
              "aria-pressed": "false",
              "data-places": places.join(","),
              onclick: () =>
                change(
                  String(state.path) === String(places)
                    ? { path: null, steps: null }
                    : { path: places, steps },
                ),
            },
            steps.flatMap((step, i) => [
              i ? el("i", {}, "→") : null,
              el("span", { class: step === component ? "here" : "" }, graph.components[step].name),
            ]),
          ),
        ),
      ),
    ),
  );
}

function markPath() {
  for (const button of document.querySelectorAll(".path"))
    button.setAttribute(
      "aria-pressed",
      String(state.path !== null && button.dataset.places === state.path.join(",")),
    );
}
