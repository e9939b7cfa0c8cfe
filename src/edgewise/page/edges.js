// The curves: all of them on one canvas, those in focus on another above it.

const tint = (place) => (state.side === "diff" ? scene.part(place) : kindOf(place));
const isDead = (place) => !scene.alive[place];

// The drawn places as [{places, look}], by strength and colour: the weakest first, the dead below.
function grouped(places, looks, colours) {
  const groups = [];
  const dead = places.filter(isDead);
  if (dead.length)
    groups.push({
      places: dead,
      look: { colour: colours.dead, alpha: 0.55, width: 0.8, dash: [3, 3] },
    });
  const living = places.filter((place) => !isDead(place));
  const cells = new Map();
  living.forEach((place, rank) => {
    const name = tint(place);
    const shared = name === "shared"; // below what differs, and fainter
    const strong = data.scores
      ? LEVELS - 1 - Math.floor(LEVELS * Math.pow(rank / living.length, 0.7))
      : 2;
    const level = state.side === "diff" && !shared ? LEVELS - 2 : strong;
    const key = (shared ? 0 : 100) + level * 10 + NAMES.indexOf(name);
    if (!cells.has(key)) {
      const { alpha, width } = looks[level];
      cells.set(key, {
        places: [],
        look: { alpha: shared ? 0.5 * alpha : alpha, width, colour: colours[name] },
      });
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
  byId("empty").firstChild.textContent = !scene.n
    ? "No edges."
    : scene.nAlive
      ? "All edges are filtered out."
      : "No edge lies on a path from the inputs to the logits: all are dead.";
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
      strokeCurves(context, stage.points, [place], {
        ...look,
        colour: isDead(place) ? colours.dead : colours[tint(place)],
      });
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
    draw(own, {
      alpha: Math.max(0.55, Math.min(1, 9 / Math.sqrt(own.length))),
      width: own.length > 60 ? 1.3 : 1.8,
    });
    near[component] = 1;
    for (const place of own) mark(near, place);
  } else if (stage.edge !== null) {
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
