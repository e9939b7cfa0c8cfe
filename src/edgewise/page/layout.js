// Where everything stands: layers upwards, heads from left to right, the MLPs in a column of their
// own at the right, half a step above the heads that they read. The inputs are bars below, the logits
// one above. A place depends on the graph and the room alone, never on the circuit.

function makeLayout(graph, width, height) {
  const { L, H, G } = graph;
  const share = H / G;
  const grouped = G < H; // several query heads share keys and values: a bar below them reads both
  const margin = { left: 44, right: 30, top: 46, bottom: 60 };
  const gap = grouped ? 0.4 : 0; // between the groups, in head widths
  const units = H + (G - 1) * gap + 2.1;
  const unit = Math.min((width - margin.left - margin.right) / units, 84);
  const left = margin.left + Math.max(0, (width - margin.left - margin.right - unit * units) / 2);
  const pitch = (height - margin.top - margin.bottom) / L;
  const raise = graph.parallel ? 0 : 0.46 * pitch;

  const rowY = (layer) => height - margin.bottom - (layer + (graph.parallel ? 0.5 : 0.3)) * pitch;
  const headX = (head) =>
    left + (head + 0.5 + Math.floor(head / share) * gap * (grouped ? 1 : 0)) * unit;
  const mlpX = left + (units - 0.6) * unit;
  const h = Math.max(3, Math.min(0.36 * pitch, 18));
  const node = { w: Math.max(3, Math.min(0.64 * unit, 2.6 * h)), h };
  const span = { from: headX(0) - node.w / 2, to: mlpX + node.w / 2 };
  const middle = (span.from + span.to) / 2;
  const bar = { w: Math.min(0.62 * (span.to - span.from), 460), h: 20 };

  const boxes = graph.components.map(({ kind, layer, place }) => {
    if (kind === "head") return { x: headX(place), y: rowY(layer), w: node.w, h: node.h };
    if (kind === "mlp") return { x: mlpX, y: rowY(layer) - raise, w: node.w, h: node.h };
    if (kind === "logits") return { x: middle, y: 20, w: bar.w, h: bar.h };
    const w = bar.w / graph.nInputs - (graph.nInputs - 1) * 5;
    return {
      x: middle + (place - (graph.nInputs - 1) / 2) * (w + 10),
      y: height - 18,
      w,
      h: bar.h,
    };
  });

  // Bars that read keys and values for a group of heads.
  const barY = node.h / 2 + Math.max(2, 0.07 * pitch);
  const bars = [];
  if (grouped)
    for (let layer = 0; layer < L; layer++)
      for (let group = 0; group < G; group++) {
        const from = headX(group * share) - node.w / 2;
        const to = headX((group + 1) * share - 1) + node.w / 2;
        bars.push({ layer, group, from, to, y: rowY(layer) + barY });
      }

  const ports = graph.readers.map(({ kind, layer, place }) => {
    if (kind === "mlp") return { x: mlpX, y: rowY(layer) - raise + node.h / 2 };
    if (kind === "logits") return { x: middle, y: 20 + bar.h / 2 };
    if (kind === "q")
      return { x: headX(place) - (grouped ? 0 : node.w / 3), y: rowY(layer) + node.h / 2 };
    if (!grouped)
      return { x: headX(place) + (kind === "k" ? 0 : node.w / 3), y: rowY(layer) + node.h / 2 };
    const { from, to, y } = bars[layer * G + place];
    return { x: from + (to - from) * (kind === "k" ? 0.28 : 0.72), y };
  });

  // A curve leaves upwards and arrives from below. Bars spread their ends under what they join, and
  // curves that stay in one column bow out to the right so that they don't hide behind its nodes.
  const along = (box, x) => box.x + ((x - middle) / (span.to - span.from)) * box.w * 0.94;
  const curve = (writer, reader) => {
    const from = boxes[writer];
    const to = ports[reader];
    const input = graph.components[writer].kind === "input";
    const logits = graph.readers[reader].kind === "logits";
    const x0 = input ? along(from, logits ? middle : to.x) : from.x;
    const x1 = logits ? along(boxes[graph.nWriters], x0) : to.x;
    const y0 = from.y - from.h / 2;
    const y1 = to.y;
    const rise = Math.max(y0 - y1, 0);
    const bend = Math.max(0.42 * rise, 0.3 * pitch);
    const near = Math.max(0, 1 - Math.abs(x1 - x0) / (1.2 * unit));
    const bow =
      input || logits
        ? 0
        : near * Math.min(0.25 * unit + 0.09 * rise, 2.2 * unit, width - mlpX - 6);
    return [x0, y0, x0 + bow, y0 - bend, x1 + bow, y1 + bend, x1, y1];
  };

  const curves = (index) => {
    const points = new Float32Array(8 * index.n);
    for (let place = 0; place < index.n; place++)
      points.set(curve(index.writer[place], index.reader[place]), 8 * place);
    return points;
  };

  return { width, height, boxes, bars, node, unit, pitch, rowY, headX, mlpX, left, span, curves };
}

// How far a point is from a curve, over a few points of it; Infinity if it is out of its box.
function distanceTo(points, place, x, y) {
  const [x0, y0, x1, y1, x2, y2, x3, y3] = points.subarray(8 * place, 8 * place + 8);
  if (y > y0 + 4 || y < y3 - 4) return Infinity;
  if (x < Math.min(x0, x1, x2, x3) - 4 || x > Math.max(x0, x1, x2, x3) + 4) return Infinity;
  let nearest = Infinity;
  let px = x0;
  let py = y0;
  for (let i = 1; i <= 16; i++) {
    const t = i / 16;
    const u = 1 - t;
    const a = u * u * u,
      b = 3 * u * u * t,
      c = 3 * u * t * t,
      d = t * t * t;
    const qx = a * x0 + b * x1 + c * x2 + d * x3;
    const qy = a * y0 + b * y1 + c * y2 + d * y3;
    const length = (qx - px) ** 2 + (qy - py) ** 2;
    const along = length
      ? Math.max(0, Math.min(1, ((x - px) * (qx - px) + (y - py) * (qy - py)) / length))
      : 0;
    nearest = Math.min(nearest, Math.hypot(x - px - along * (qx - px), y - py - along * (qy - py)));
    px = qx;
    py = qy;
  }
  return nearest;
}
