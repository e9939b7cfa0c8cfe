// Elements, and strokes on a canvas.

const SVG = "http://www.w3.org/2000/svg";

function attach(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {}))
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes, ...children) =>
  attach(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  attach(document.createElementNS(SVG, tag), attributes, children);
// A column's heading; an empty corner is no heading.
const heading = (name, look) =>
  el(name ? "th" : "td", { scope: name ? "col" : null, class: look }, name);
const byId = (id) => document.getElementById(id);

const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Makes a canvas fill its box at the screen's resolution, and clears it.
function prepare(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const w = Math.round(width * scale);
  const h = Math.round(height * scale);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// Strokes curves of one look, a few at a time: one long path would be slow to fill, and curves that
// cross in it would not darken each other.
function strokeCurves(context, points, places, look) {
  context.strokeStyle = look.colour;
  context.globalAlpha = look.alpha;
  context.lineWidth = look.width;
  context.setLineDash(look.dash || []);
  for (let start = 0; start < places.length; start += 8) {
    context.beginPath();
    for (const place of places.slice(start, start + 8)) {
      const i = 8 * place;
      context.moveTo(points[i], points[i + 1]);
      context.bezierCurveTo(
        points[i + 2],
        points[i + 3],
        points[i + 4],
        points[i + 5],
        points[i + 6],
        points[i + 7],
      );
    }
    context.stroke();
  }
}

const LEVELS = 6; // steps of strength

// Looks by strength, the weakest first: n curves together should neither vanish nor fill the page.
// Browsers draw lines of up to one pixel ten times as fast as wider ones, so among many curves only
// the strongest are wide; thinner lines on a finer screen are less transparent instead.
function looksFor(n) {
  const scale = window.devicePixelRatio || 1;
  const base = Math.min(0.95, 5 / Math.pow(Math.max(n, 1), 0.38));
  return Array.from({ length: LEVELS }, (_, level) => {
    const t = level / (LEVELS - 1);
    const alpha = base * (0.3 + 1.45 * t * t);
    const thin = n > 500 && (t < 1 || n > 6000);
    return thin
      ? { alpha: Math.min(1, alpha * Math.sqrt(scale)), width: 1 / scale }
      : { alpha: Math.min(1, alpha), width: 1 + 0.8 * t };
  });
}
