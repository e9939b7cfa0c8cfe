// Small charts in SVG.

function niceTicks(low, high, n) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  const wide = Math.log10(high / low) > 2.2;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const m of wide ? [1] : [1, 2, 5]) {
      const tick = Number((m * 10 ** power).toPrecision(3));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  return ticks;
}

// An axis from data to pixels: {at, ticks, low, high}.
function makeAxis({ values, log, zero, fraction, from, to, n }) {
  const usable = values.filter((v) => isNumber(v) && (!log || v > 0));
  let low = Math.min(...usable);
  let high = Math.max(...usable);
  if (!usable.length) [low, high] = log ? [0.01, 1] : [0, 1];
  if (log) {
    if (low === high) [low, high] = [low / 2, high * 2];
    low /= 1.06;
    high *= 1.06;
    const scale = (to - from) / Math.log(high / low);
    return {
      low,
      high,
      ticks: logTicks(low, high),
      at: (v) => from + Math.log(v / low) * scale,
      back: (p) => low * Math.exp((p - from) / scale),
    };
  }
  if (zero) {
    const tiny = 1e-4 * Math.max(Math.abs(low), Math.abs(high)); // rounding
    [low, high] = [low > -tiny ? 0 : low, high < tiny ? 0 : high];
  }
  if (fraction) [low, high] = [0, 1];
  else if (low === high) [low, high] = [low - 0.5, high + 0.5];
  else {
    const pad = 0.05 * (high - low);
    low = zero && low === 0 ? 0 : low - pad;
    high = zero && high === 0 ? 0 : high + pad;
  }
  const scale = (to - from) / (high - low);
  return {
    low,
    high,
    ticks: niceTicks(low, high, n || 4),
    at: (v) => from + (v - low) * scale,
    back: (p) => low + (p - from) / scale,
  };
}

// lines   [{points: [[x, y]], band: [[x, low, high]], colour, dash, dots, name}]
// spots   [{x, y, low, high, colour, name, hollow}]   points with intervals
// The chart's `moveTo(x)` shows a vertical line at x; `onPick(x)` hears clicks.
function chart({ label, x, y, lines = [], spots = [], height = 190, onPick = null }) {
  const size = { w: 392, h: height };
  const edge = { left: 44, right: 14, top: 10, bottom: 34 };
  const every = (pick) => [
    ...lines.flatMap((line) => line.points.map(pick)),
    ...lines.flatMap((line) =>
      (line.band || []).flatMap(([x, low, high]) => [pick([x, low]), pick([x, high])]),
    ),
    ...spots.map((spot) => pick([spot.x, spot.y])),
  ];
  const xs = makeAxis({
    ...x,
    values: every((p) => p[0]),
    from: edge.left,
    to: size.w - edge.right,
    n: 5,
  });
  const ys = makeAxis({
    ...y,
    values: [...every((p) => p[1]), ...spots.flatMap((s) => [s.low, s.high])],
    from: size.h - edge.bottom,
    to: edge.top,
  });
  const node = svg("svg", {
    class: "chart",
    viewBox: `0 0 ${size.w} ${size.h}`,
    role: "img",
    "aria-label": label,
  });

  for (const tick of ys.ticks) {
    const p = ys.at(tick);
    node.append(
      svg("line", { class: "grid", x1: edge.left, x2: size.w - edge.right, y1: p, y2: p }),
      svg("text", { x: edge.left - 7, y: p + 3.5, "text-anchor": "end" }, y.format(tick)),
    );
  }
  for (const tick of xs.ticks) {
    const p = xs.at(tick);
    node.append(
      svg("line", {
        class: "tick",
        x1: p,
        x2: p,
        y1: size.h - edge.bottom,
        y2: size.h - edge.bottom + 4,
      }),
      svg("text", { x: p, y: size.h - edge.bottom + 16, "text-anchor": "middle" }, x.format(tick)),
    );
  }
  node.append(
    svg("line", {
      class: "base",
      x1: edge.left,
      x2: size.w - edge.right,
      y1: size.h - edge.bottom,
      y2: size.h - edge.bottom,
    }),
    svg(
      "text",
      {
        class: "name",
        x: (edge.left + size.w - edge.right) / 2,
        y: size.h - 3,
        "text-anchor": "middle",
      },
      x.name,
    ),
  );

  for (const { points, band, colour, dash, dots } of lines) {
    if (band) {
      const side = (end) => band.map((point) => `${xs.at(point[0])},${ys.at(point[end])}`);
      node.append(
        svg("polygon", { class: "band", points: [...side(1), ...side(2).reverse()], fill: colour }),
      );
    }
    const usable = points.filter(([a, b]) => isNumber(b) && (!x.log || a > 0) && (!y.log || b > 0));
    const path = usable
      .map(([a, b], i) => `${i ? "L" : "M"}${xs.at(a).toFixed(1)},${ys.at(b).toFixed(1)}`)
      .join("");
    node.append(
      svg("path", {
        d: path,
        fill: "none",
        stroke: colour,
        "stroke-width": 1.6,
        "stroke-dasharray": dash || null,
        "stroke-linejoin": "round",
      }),
    );
    if (dots)
      for (const [a, b] of usable)
        node.append(svg("circle", { cx: xs.at(a), cy: ys.at(b), r: 2.2, fill: colour }));
  }
  const marker = svg("line", {
    class: "marker",
    y1: edge.top,
    y2: size.h - edge.bottom,
    visibility: "hidden",
  });
  node.append(marker);
  const taken = []; // labels so far, so that none covers another
  for (const { x: a, y: b, low, high, colour, name, hollow } of spots) {
    if (!isNumber(b) || !(a > 0)) continue;
    const px = xs.at(a);
    const group = svg("g", { stroke: colour }, svg("title", {}, name));
    if (isNumber(low) && isNumber(high))
      group.append(
        svg("line", { x1: px, x2: px, y1: ys.at(low), y2: ys.at(high), "stroke-width": 1.4 }),
      );
    group.append(
      svg("circle", {
        cx: px,
        cy: ys.at(b),
        r: 3.6,
        fill: hollow ? "var(--paper)" : colour,
        "stroke-width": 1.6,
      }),
    );
    const end = px > size.w - 90;
    const wide = 6 * name.length;
    const left = end ? px - 7 - wide : px + 7;
    let line = ys.at(b) - 5;
    while (
      taken.some(
        (t) => Math.abs(t.line - line) < 11 && left < t.left + t.wide && t.left < left + wide,
      )
    )
      line -= 11;
    taken.push({ left, wide, line });
    group.append(
      svg(
        "text",
        { class: "spot", x: px + (end ? -7 : 7), y: line, "text-anchor": end ? "end" : "start" },
        name,
      ),
    );
    node.append(group);
  }
  if (onPick) {
    node.classList.add("pick");
    node.addEventListener("click", (event) => {
      const box = node.getBoundingClientRect();
      onPick(xs.back(((event.clientX - box.left) / box.width) * size.w));
    });
  }
  const moveTo = (value) => {
    const shown = isNumber(value) && value >= xs.low && value <= xs.high;
    marker.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) for (const end of ["x1", "x2"]) marker.setAttribute(end, xs.at(value).toFixed(1));
  };
  return { node, moveTo };
}

// A mean and its interval on a scale shared by several rows.
function whisker(value, low, high, from, to, colour) {
  const at = (v) => 5 + (88 * (v - from)) / (to - from || 1);
  const node = svg(
    "svg",
    { class: "whisker", viewBox: "0 0 98 14", "aria-hidden": "true" },
    svg("line", { class: "grid", x1: 5, x2: 93, y1: 7, y2: 7 }),
  );
  const clip = (v) => at(Math.max(from, Math.min(to, v)));
  if (isNumber(low) && isNumber(high))
    node.append(
      svg("line", {
        class: "interval",
        x1: clip(low),
        x2: clip(high),
        y1: 7,
        y2: 7,
        stroke: colour,
      }),
    );
  node.append(
    svg("line", {
      x1: at(value),
      x2: at(value),
      y1: 2.5,
      y2: 11.5,
      stroke: colour,
      "stroke-width": 2,
    }),
  );
  return node;
}
