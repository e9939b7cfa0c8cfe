// Paths through a component, over the flagged edges.
//
// Every component keeps its `limit` best ways from an input: fewest hops first, then the lowest sum
// of ranks. Both add up along a path, so the best ways on come from the best ways here.

function pathsThrough(graph, index, flags, via, limit) {
  const { components, nWriters, nInputs } = graph;
  const into = components.map(() => []); // [writer, place] of every component's best edges
  const best = new Map();
  for (let i = 0; i < index.n; i++) {
    const place = index.byReader[i];
    if (!flags[place]) continue;
    for (const component of graph.readers[index.reader[place]].changes) {
      const key = component * (nWriters + 1) + index.writer[place];
      if (!best.has(key) || place < best.get(key)) best.set(key, place); // several edges: the best
    }
  }
  for (const [key, place] of best)
    into[Math.floor(key / (nWriters + 1))].push([key % (nWriters + 1), place]);
  if (graph.free)
    for (let component = nInputs; component <= nWriters; component++) into[component].push([0, -1]);

  const ways = components.map(() => []);
  const counts = new Float64Array(nWriters + 1);
  const better = (a, b) => a.hops - b.hops || a.cost - b.cost;
  const extend = (component) => {
    const found = [];
    counts[component] = 0;
    for (const [writer, place] of into[component]) {
      counts[component] += counts[writer];
      for (const way of ways[writer])
        found.push({
          component,
          place,
          before: way,
          hops: way.hops + 1,
          cost: way.cost + Math.max(place, 0),
        });
    }
    ways[component] = found.sort(better).slice(0, limit);
  };

  for (let input = 0; input < nInputs; input++) {
    ways[input] = [{ component: input, place: -1, before: null, hops: 0, cost: 0 }];
    counts[input] = 1;
  }
  for (let component = nInputs; component <= via; component++) extend(component);
  for (let component = 0; component < Math.max(via, nInputs); component++)
    if (component !== via) {
      // from here on only ways through `via`
      ways[component] = [];
      counts[component] = 0;
    }
  for (let component = Math.max(via + 1, nInputs); component <= nWriters; component++)
    extend(component);

  const unrolled = ways[nWriters].map((way) => {
    const steps = [];
    const places = [];
    for (let at = way; at; at = at.before) {
      steps.unshift(at.component);
      if (at.place >= 0) places.unshift(at.place);
    }
    return { steps, places };
  });
  return { paths: unrolled, count: counts[nWriters] };
}

// The flagged edges that lie on any path through the component: below it, and above it.
function edgesThrough(graph, index, flags, via) {
  const above = new Uint8Array(graph.nWriters + 1);
  const below = new Uint8Array(graph.nWriters + 1);
  above[via] = below[via] = 1;
  const on = new Uint8Array(index.n);
  const changed = (place) => graph.readers[index.reader[place]].changes;
  for (let i = 0; i < index.n; i++) {
    const place = index.byReader[i];
    if (!flags[place] || !above[index.writer[place]]) continue;
    on[place] = 1;
    for (const component of changed(place)) above[component] = 1;
  }
  for (let i = index.n - 1; i >= 0; i--) {
    const place = index.byReader[i];
    if (!flags[place] || !changed(place).some((component) => below[component])) continue;
    on[place] = 1;
    below[index.writer[place]] = 1;
  }
  return on;
}
