// The picture under the pointer and the keyboard.

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
  const edges =
    kind === "input"
      ? `${count(out)} out`
      : kind === "logits"
        ? `${count(into)} in`
        : `${count(into)} in, ${count(out)} out`;
  return {
    name,
    what:
      kind === "head"
        ? `layer ${layer}, head ${place}${words}`
        : kind === "mlp"
          ? `MLP of layer ${layer}`
          : kind === "logits"
            ? "the output"
            : "the embeddings",
    edges,
  };
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
  const lines = [
    `${graph.components[index.writer[place]].name} → ${graph.readers[index.reader[place]].name}`,
  ];
  const parts = [];
  if (data.scores) parts.push(`score ${number(score(place))}`);
  if (place < data.ranked) parts.push(`rank ${count(place + 1)} of ${count(graph.nEdges)}`);
  if (isDead(place)) parts.push("dead");
  if (state.side === "diff")
    parts.push({ shared: "in both", left: "only left", right: "only right" }[scene.part(place)]);
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
    if (edge !== stage.edge) {
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
    } else if (event.key === "Enter" || event.key === " ")
      select(component === state.selected ? null : component);
    else return;
    event.preventDefault();
  });
  watchers.push((changed) => {
    if (changed.has("colours")) readColours();
    if (changed.has("scene")) markNodes();
    if (changed.has("scene") || changed.has("colours")) paint();
    if (["scene", "selected", "hovered", "path", "edge", "colours"].some((key) => changed.has(key)))
      paintFocus();
    if (changed.has("selected")) {
      stage.nodes.forEach((node, i) =>
        node.setAttribute("aria-pressed", String(i === state.selected)),
      );
      if (state.selected !== null) setTabstop(state.selected);
    }
  });
  new ResizeObserver(measure).observe(byId("graph"));
}
