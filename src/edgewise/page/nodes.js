// The picture's components, as SVG between and above the curves.

// What is drawn: the layout, the curves' points, the components' elements and looks, the edge that
// is pointed at.
const stage = { layout: null, points: null, nodes: [], levels: [], near: [], edge: null };

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
      axis.append(
        svg(
          "text",
          { x: layout.left - 12, y: layout.rowY(layer) + 3.5, "text-anchor": "end" },
          String(layer),
        ),
      );
  axis.append(
    svg(
      "text",
      {
        class: "name",
        "text-anchor": "middle",
        transform: `translate(${Math.max(9, layout.left - 34)},${(layout.rowY(0) + layout.rowY(graph.L - 1)) / 2}) rotate(-90)`,
      },
      "layer",
    ),
  );
  const below = layout.rowY(0) + node.h / 2 + Math.max(14, Math.min(19, 0.2 * pitch + 9));
  const stride = Math.max(1, Math.ceil(15 / unit));
  for (let head = 0; head < graph.H; head++)
    if (head % stride === 0)
      axis.append(
        svg("text", { x: layout.headX(head), y: below, "text-anchor": "middle" }, String(head)),
      );
  axis.append(
    svg("text", { class: "name", x: layout.left - 12, y: below, "text-anchor": "end" }, "head"),
  );
  axis.append(
    svg("text", { class: "name", x: layout.mlpX, y: below, "text-anchor": "middle" }, "MLP"),
  );
  // Below the edges: every place there is. Above them, in full colour: what has edges.
  const box = ({ w, h }, bar) => ({
    x: -w / 2,
    y: -h / 2,
    width: w,
    height: h,
    rx: bar ? 5 : Math.min(3, h / 3),
  });
  const line = ({ from, to, y }) => svg("line", { class: "kv", x1: from, x2: to, y1: y, y2: y });
  backdrop.append(
    axis,
    ...layout.bars.map(line),
    ...boxes.map((b) =>
      svg("rect", { class: "box", ...box(b, false), transform: `translate(${b.x},${b.y})` }),
    ),
  );
  stage.bars = layout.bars.map(line);
  canvas.append(...stage.bars);

  const roomy = node.w >= 30 && node.h >= 12;
  stage.nodes = graph.components.map((component, i) => {
    const { x, y, w, h } = boxes[i];
    const bar = component.kind === "input" || component.kind === "logits";
    const label = bar
      ? component.name
      : roomy
        ? component.name.replace(/^a(\d+)\.h(\d+)$/, "$1.$2")
        : null;
    const reach = bar
      ? { w: w + 4, h: h + 4 }
      : {
          w: Math.max(w + 2, Math.min(unit, w + 8)),
          h: Math.max(h + 2, Math.min(graph.parallel ? pitch : pitch / 2, h + 8)),
        };
    const group = svg(
      "g",
      {
        class: `node ${component.kind}`,
        transform: `translate(${x},${y})`,
        role: "button",
        tabindex: "-1",
        "data-component": i,
        "aria-label": component.name,
        "aria-pressed": "false",
      },
      svg("rect", {
        class: "reach",
        x: -reach.w / 2,
        y: -reach.h / 2,
        width: reach.w,
        height: reach.h,
      }),
      svg("rect", { class: "box", ...box(boxes[i], bar) }),
      label ? svg("text", { y: 3.5, "text-anchor": "middle", "aria-hidden": "true" }, label) : null,
    );
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
  const shared = []; // keys and values are used only by heads that have other edges
  const read = new Set(); // bars
  for (const place of scene.drawn) {
    degree[index.writer[place]]++;
    const { kind, layer, place: group, feeds } = graph.readers[index.reader[place]];
    if (feeds.length > 1) shared.push(feeds);
    else degree[feeds[0]]++;
    if (kind === "k" || kind === "v") read.add(layer * graph.G + group);
  }
  const used = degree.map(Math.sign);
  for (const feeds of shared) for (const component of feeds) degree[component] += used[component];
  stage.bars.forEach((bar, i) => bar.classList.toggle("read", read.has(i)));
  let most = 1;
  graph.components.forEach(({ kind }, i) => {
    if (kind === "head" || kind === "mlp") most = Math.max(most, degree[i]);
  });
  stage.nodes.forEach((node, i) => {
    const level = degree[i]
      ? Math.max(1, Math.min(4, Math.ceil(4 * Math.sqrt(degree[i] / most))))
      : 0;
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
