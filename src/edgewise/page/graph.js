// The picture: curves on two canvases (all of them, and those in focus), components as SVG.

const stage = { layout: null, points: null, nodes: [], levels: [], near: [], axes: null };

function measure() {
  const box = byId("graph");
  const width = box.clientWidth;
  const height = box.clientHeight;
  if (!width || !height) return;
  stage.layout = makeLayout(graph, width, height);
  stage.points = stage.layout.curves(index);
  drawNodes();
  paint();
  paintFocus();
}

// --- components ----------------------------------------------------------------------------------

function drawNodes() {
  const { layout } = stage;
  const { boxes, node, pitch, unit } = layout;
  const canvas = byId("nodes");
  const backdrop = byId("backdrop");
  for (const picture of [canvas, backdrop]) {
    picture.setAttribute("width", layout.width);
    picture.setAttribute("height", layout.height);
    picture.replaceChildren();
  }

  const axis = svg("g", { class: "axis" });
  const every = Math.max(1, Math.ceil(13 / pitch));
  for (let layer = 0; layer < graph.L; layer++)
    if (layer % every === 0)
      axis.append(svg("text", { x: layout.left - 12, y: layout.rowY(layer) + 3.5, "text-anchor": "end" }, String(layer)));
  axis.append(svg("text", {
    class: "name", "text-anchor": "middle",
    transform: `translate(${Math.max(9, layout.left - 34)},${(layout.rowY(0) + layout.rowY(graph.L - 1)) / 2}) rotate(-90)`,
  }, "layer"));
  const below = layout.rowY(0) + node.h / 2 + Math.max(14, Math.min(19, 0.2 * pitch + 9));
  const stride = Math.max(1, Math.ceil(15 / unit));
  for (let head = 0; head < graph.H; head++)
    if (head % stride === 0)
      axis.append(svg("text", { x: layout.headX(head), y: below, "text-anchor": "middle" }, String(head)));
  axis.append(svg("text", { class: "name", x: layout.left - 12, y: below, "text-anchor": "end" }, "head"));
  axis.append(svg("text", { class: "name", x: layout.mlpX, y: below, "text-anchor": "middle" }, "MLP"));
  // Below the edges: every place there is. Above them, in full colour: what has edges.
  const box = ({ w, h }, bar) => ({ x: -w / 2, y: -h / 2, width: w, height: h, rx: bar ? 5 : Math.min(3, h / 3) });
  const line = ({ from, to, y }) => svg("line", { class: "kv", x1: from, x2: to, y1: y, y2: y });
  backdrop.append(axis, ...layout.bars.map(line),
    ...boxes.map((b) => svg("rect", { class: "box", ...box(b, false), transform: `translate(${b.x},${b.y})` })));
  stage.bars = layout.bars.map(line);
  canvas.append(...stage.bars);

  const roomy = node.w >= 30 && node.h >= 12;
  stage.nodes = graph.components.map((component, i) => {
    const { x, y, w, h } = boxes[i];
    const bar = component.kind === "input" || component.kind === "logits";
    const label = bar ? component.name : roomy ? component.name.replace(/^a(\d+)\.h(\d+)$/, "$1.$2") : null;
    const reach = bar ? { w: w + 4, h: h + 4 } : {
      w: Math.max(w + 2, Math.min(unit, w + 8)), h: Math.max(h + 2, Math.min(graph.parallel ? pitch : pitch / 2, h + 8)),
    };
    const group = svg("g", {
      class: `node ${component.kind}`, transform: `translate(${x},${y})`, role: "button", tabindex: "-1",
      "data-component": i, "aria-label": component.name, "aria-pressed": "false",
    },
    svg("rect", { class: "reach", x: -reach.w / 2, y: -reach.h / 2, width: reach.w, height: reach.h }),
    svg("rect", { class: "box", ...box(boxes[i], bar) }),
    label ? svg("text", { y: 3.5, "text-anchor": "middle" }, label) : null);
    canvas.append(group);
    return group;
  });
  stage.levels = [];
  stage.near = [];
  stage.tabstop = null;
  markNodes();
}

// How much a component is used, in steps: 0 for no edge, 4 for the most edges.
function markNodes() {
  const degree = new Int32Array(graph.nWriters + 1);
  const read = new Set(); // bars
  for (const place of scene.drawn) {
    degree[index.writer[place]]++;
    const { kind, layer, place: group, feeds } = graph.readers[index.reader[place]];
    for (const component of feeds) degree[component]++;
    if (kind === "k" || kind === "v") read.add(layer * graph.G + group);
  }
  stage.bars.forEach((bar, i) => bar.classList.toggle("read", read.has(i)));
  let most = 1;
  graph.components.forEach(({ kind }, i) => {
    if (kind === "head" || kind === "mlp") most = Math.max(most, degree[i]);
  });
  stage.nodes.forEach((node, i) => {
    const level = degree[i] ? Math.max(1, Math.min(4, Math.ceil(4 * Math.sqrt(degree[i] / most)))) : 0;
    if (stage.levels[i] !== level) node.dataset.level = stage.levels[i] = level;
  });
  setTabstop(state.selected ?? stage.tabstop ?? graph.nWriters);
}

// One component at a time is in the tab order; arrow keys go on from there.
function setTabstop(component) {
  if (stage.tabstop === component) return;
  if (stage.tabstop !== null) stage.nodes[stage.tabstop].setAttribute("tabindex", "-1");
  stage.tabstop = component;
  stage.nodes[component].setAttribute("tabindex", "0");
}

// The nearest component from `from` in a direction, sideways distance counting double.
function neighbour(from, dx, dy) {
  const { boxes } = stage.layout;
  let found = null;
  let least = Infinity;
  boxes.forEach((box, i) => {
    const along = (box.x - boxes[from].x) * dx + (box.y - boxes[from].y) * dy;
    const across = Math.abs((box.x - boxes[from].x) * dy) + Math.abs((box.y - boxes[from].y) * dx);
    const far = along + 2.5 * across;
    if (i !== from && along > 1 && far < least) [found, least] = [i, far];
  });
  return found;
}

// --- edges ---------------------------------------------------------------------------------------

const tint = (place) => (state.side === "diff" ? scene.part(place) : kindOf(place));
const isDead = (place) => !scene.alive[place];

// The drawn places as [{places, look}], by strength and colour: the weakest first, the dead below.
function grouped(places, looks, colours) {
  const groups = [];
  const dead = places.filter(isDead);
  if (dead.length) groups.push({ places: dead, look: { colour: colours.dead, alpha: 0.55, width: 0.8, dash: [3, 3] } });
  const living = places.filter((place) => !isDead(place));
  const cells = new Map();
  living.forEach((place, rank) => {
    const name = tint(place);
    const shared = name === "shared"; // below what differs, and fainter
    const strong = data.scores ? LEVELS - 1 - Math.floor(LEVELS * Math.pow(rank / living.length, 0.7)) : 2;
    const level = state.side === "diff" && !shared ? LEVELS - 2 : strong;
    const key = (shared ? 0 : 100) + level * 10 + NAMES.indexOf(name);
    if (!cells.has(key)) {
      const { alpha, width } = looks[level];
      cells.set(key, { places: [], look: { alpha: shared ? 0.5 * alpha : alpha, width, colour: colours[name] } });
    }
    cells.get(key).places.push(place);
  });
  return groups.concat([...cells.entries()].sort((a, b) => a[0] - b[0]).map(([, cell]) => cell));
}

const NAMES = [...KINDS, "shared", "left", "right", "dead"];
let colours = null;
function readColours() {
  colours = Object.fromEntries(NAMES.map((name) => [name, colour(name)]));
}

function paint() {
  if (!stage.layout) return;
  byId("empty").hidden = scene.drawn.length > 0;
  byId("empty").firstChild.textContent = !scene.n ? "No edges."
    : scene.nAlive ? "All edges are filtered out." : "No edge lies on a path from the inputs to the logits: all are dead.";
  const context = prepare(byId("edges"), stage.layout.width, stage.layout.height);
  for (const { places, look } of grouped(scene.drawn, looksFor(scene.drawn.length), colours))
    strokeCurves(context, stage.points, places, look);
}

const touches = (place, component) =>
  index.writer[place] === component || graph.readers[index.reader[place]].feeds.includes(component);

function paintFocus() {
  if (!stage.layout) return;
  const context = prepare(byId("focus"), stage.layout.width, stage.layout.height);
  const component = state.hovered ?? state.selected;
  const near = new Uint8Array(graph.nWriters + 1);
  const draw = (places, look) => {
    for (const place of places)
      strokeCurves(context, stage.points, [place], { ...look, colour: isDead(place) ? colours.dead : colours[tint(place)] });
  };
  if (state.path) {
    draw(state.path, { alpha: 1, width: 2.4 });
    if (state.steps) for (const step of state.steps) near[step] = 1;
    else for (const place of state.path) mark(near, place);
  } else if (component !== null) {
    const through = edgesThrough(graph, index, scene.visible, component);
    const own = scene.drawn.filter((place) => touches(place, component));
    const far = scene.drawn.filter((place) => through[place] && !touches(place, component));
    draw(far, { alpha: Math.min(0.35, 6 / Math.sqrt(far.length + 1)), width: 0.8 });
    draw(own, { alpha: Math.max(0.55, Math.min(1, 9 / Math.sqrt(own.length))), width: own.length > 60 ? 1.3 : 1.8 });
    near[component] = 1;
    for (const place of own) mark(near, place);
  } else if (stage.edge !== null && stage.edge !== undefined) {
    draw([stage.edge], { alpha: 1, width: 2.4 });
    mark(near, stage.edge);
  }
  const focused = Boolean(state.path) || component !== null;
  byId("graph").classList.toggle("focused", focused);
  stage.nodes.forEach((node, i) => {
    const how = near[i] ? "near" : focused ? "far" : "";
    if (stage.near[i] !== how) node.dataset.near = stage.near[i] = how;
  });
}

function mark(near, place) {
  near[index.writer[place]] = 1;
  for (const component of graph.readers[index.reader[place]].feeds) near[component] = 1;
}

// The drawn edge under the pointer, if any.
function edgeAt(x, y) {
  let found = null;
  let least = 5;
  const component = state.selected;
  for (const place of state.path || scene.drawn) {
    if (component !== null && !state.path && !touches(place, component)) continue;
    const distance = distanceTo(stage.points, place, x, y);
    if (distance < least) [found, least] = [place, distance];
  }
  return found;
}

// --- pointing ------------------------------------------------------------------------------------

function describe(component) {
  const { name, kind, layer, place } = graph.components[component];
  let into = 0;
  let out = 0;
  for (const edge of scene.drawn) {
    if (index.writer[edge] === component) out++;
    if (graph.readers[index.reader[edge]].feeds.includes(component)) into++;
  }
  const share = graph.H / graph.G;
  const words = kind === "head" && share > 1 ? `, kv head ${Math.floor(place / share)}` : "";
  const edges = kind === "input" ? `${count(out)} out` : kind === "logits" ? `${count(into)} in` : `${count(into)} in, ${count(out)} out`;
  return { name, what: kind === "head" ? `layer ${layer}, head ${place}${words}` : kind === "mlp" ? `MLP of layer ${layer}` : kind === "logits" ? "the output" : "the embeddings", edges };
}

function showTip(x, y, ...lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line, i) => el("div", { class: i ? "soft" : "" }, line)));
  tip.hidden = false;
  const { width, height } = stage.layout;
  tip.style.left = `${Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 6))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > height ? y - tip.offsetHeight - 10 : y + 18}px`;
}

function edgeLines(place) {
  const lines = [`${graph.components[index.writer[place]].name} → ${graph.readers[index.reader[place]].name}`];
  const parts = [];
  if (data.scores) parts.push(`score ${number(score(place))}`);
  if (place < data.ranked) parts.push(`rank ${count(place + 1)} of ${count(graph.nEdges)}`);
  if (isDead(place)) parts.push("dead");
  if (state.side === "diff") parts.push({ shared: "in both", left: "only left", right: "only right" }[scene.part(place)]);
  return parts.length ? [...lines, parts.join(" · ")] : lines;
}

function select(component) {
  change({ selected: component, path: null, steps: null, hovered: null });
  if (component !== null) openTab("component");
}

function setUpGraph() {
  readColours();
  const canvas = byId("nodes");
  const nodeOf = (event) => {
    const node = event.target.closest && event.target.closest(".node");
    return node ? Number(node.dataset.component) : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const component = nodeOf(event);
    const edge = component === null ? edgeAt(x, y) : null;
    if (component !== state.hovered) change({ hovered: component });
    if (edge !== (stage.edge ?? null)) {
      stage.edge = edge;
      change({ edge });
    }
    if (component !== null) {
      const { name, what, edges } = describe(component);
      showTip(x, y, name, what, edges);
    } else if (edge !== null) showTip(x, y, ...edgeLines(edge));
    else byId("tip").hidden = true;
  });
  canvas.addEventListener("pointerleave", () => {
    byId("tip").hidden = true;
    stage.edge = null;
    change({ hovered: null, edge: null });
  });
  canvas.addEventListener("click", (event) => {
    const component = nodeOf(event);
    select(component === state.selected ? null : component);
    if (component !== null) {
      setTabstop(component);
      stage.nodes[component].focus({ preventScroll: true });
    }
  });
  // Not on the SVG itself: Chromium would make it a stop of its own.
  byId("graph").addEventListener("focusin", (event) => {
    const component = nodeOf(event);
    if (component === null) return;
    setTabstop(component);
    const { name, what, edges } = describe(component);
    stage.nodes[component].setAttribute("aria-label", `${name}, ${what}: ${edges}`);
  });
  canvas.addEventListener("keydown", (event) => {
    const component = nodeOf(event);
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (component === null) return;
    if (event.key in steps) {
      const next = neighbour(component, ...steps[event.key]);
      if (next !== null) stage.nodes[next].focus();
    } else if (event.key === "Enter" || event.key === " ") select(component === state.selected ? null : component);
    else return;
    event.preventDefault();
  });
  watchers.push((changed) => {
    if (changed.has("colours")) readColours();
    if (changed.has("scene")) markNodes();
    if (changed.has("scene") || changed.has("colours")) paint();
    if (["scene", "selected", "hovered", "path", "edge", "colours"].some((key) => changed.has(key))) paintFocus();
    if (changed.has("selected")) {
      stage.nodes.forEach((node, i) => node.setAttribute("aria-pressed", String(i === state.selected)));
      if (state.selected !== null) setTabstop(state.selected);
    }
  });
  new ResizeObserver(measure).observe(byId("graph"));
}
