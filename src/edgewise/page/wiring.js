// The graph's arithmetic: names, edges and aliveness, as graph.py and wiring.py have them.
//
// A component is a writer by its column, or the logits at index W. Edges are numbered reader by
// reader; what a reader sees is a prefix of the writers, so edge e of reader r is writer
// e - starts[r] + firstColumn.

const KINDS = ["q", "k", "v", "mlp", "logits"];

function makeGraph(settings) {
  const { n_layers: L, n_heads: H, n_kv_heads: G, parallel, embeddings, coupled } = settings;
  const nInputs = embeddings === "split" ? 2 : 1;
  const free = embeddings === "free";
  const firstColumn = free ? 1 : 0;

  // Components: name, kind ("input", "head", "mlp", "logits"), layer (-1 for inputs, L for logits).
  const components = [];
  for (const name of nInputs === 2 ? ["tok", "pos"] : ["input"])
    components.push({ name, kind: "input", layer: -1, place: components.length });
  for (let layer = 0; layer < L; layer++) {
    for (let head = 0; head < H; head++)
      components.push({ name: `a${layer}.h${head}`, kind: "head", layer, place: head });
    components.push({ name: `m${layer}`, kind: "mlp", layer, place: 0 });
  }
  const nWriters = components.length;
  components.push({ name: "logits", kind: "logits", layer: L, place: 0 });
  components.forEach((component, index) => {
    component.index = index;
  });

  // Readers: name, kind, layer, how many writers they see, the components that they feed, and those
  // whose writes they change: all heads of a block if a norm couples them, else what they feed.
  const readers = [];
  for (let layer = 0; layer < L; layer++) {
    const before = nInputs + layer * (H + 1);
    for (const [kind, count] of [
      ["q", H],
      ["k", G],
      ["v", G],
    ]) {
      const share = H / count; // query heads that a reader of this kind feeds
      for (let place = 0; place < count; place++)
        readers.push({
          name: `a${layer}.h${place}<${kind}>`,
          kind,
          layer,
          place,
          seen: before,
          feeds: Array.from({ length: share }, (_, i) => before + place * share + i),
        });
    }
    readers.push({
      name: `m${layer}`,
      kind: "mlp",
      layer,
      place: 0,
      seen: before + (parallel ? 0 : H),
      feeds: [before + H],
    });
    if (coupled) {
      const heads = Array.from({ length: H }, (_, head) => before + head);
      for (const reader of readers.slice(-1 - H - 2 * G, -1)) reader.changes = heads;
    }
  }
  readers.push({
    name: "logits",
    kind: "logits",
    layer: L,
    place: 0,
    seen: nWriters,
    feeds: [nWriters],
  });
  for (const reader of readers) reader.changes ??= reader.feeds;

  const starts = [0];
  for (const reader of readers) starts.push(starts[starts.length - 1] + reader.seen - firstColumn);

  return {
    ...settings,
    L,
    H,
    G,
    nInputs,
    free,
    firstColumn,
    components,
    readers,
    nWriters,
    starts,
    nEdges: starts[readers.length],
    byName: new Map(components.map((component) => [component.name, component.index])),
  };
}

// The reader and the writer of every edge in `edges`, and the places of `edges` in reader order.
function indexEdges(graph, edges) {
  const n = edges.length;
  const reader = new Int32Array(n);
  const writer = new Int32Array(n);
  const byReader = Int32Array.from({ length: n }, (_, place) => place).sort(
    (a, b) => edges[a] - edges[b],
  );
  let r = 0;
  for (const place of byReader) {
    while (edges[place] >= graph.starts[r + 1]) r++;
    reader[place] = r;
    writer[place] = edges[place] - graph.starts[r] + graph.firstColumn;
  }
  return { n, reader, writer, byReader };
}

const edgeName = (graph, index, place) =>
  `${graph.components[index.writer[place]].name}->${graph.readers[index.reader[place]].name}`;

// Which kept edges lie on a path from an input to the logits: one pass up the readers for what the
// inputs reach, one down for what leads to the logits. `kept` and the answer are flags by place.
function aliveEdges(graph, index, kept) {
  const { readers, nInputs, nWriters, free } = graph;
  const { reader, writer, byReader, n } = index;
  const reached = new Uint8Array(nWriters + 1);
  const leads = new Uint8Array(nWriters + 1);
  reached.fill(1, 0, free ? nWriters : nInputs); // everything reads a free input
  leads[nWriters] = 1;
  for (let i = 0; i < n; i++) {
    const place = byReader[i];
    if (kept[place] && reached[writer[place]])
      for (const component of readers[reader[place]].changes) reached[component] = 1;
  }
  const readerLeads = (r) => readers[r].changes.some((component) => leads[component]);
  for (let i = n - 1; i >= 0; i--) {
    const place = byReader[i];
    if (kept[place] && !leads[writer[place]] && readerLeads(reader[place]))
      leads[writer[place]] = 1;
  }
  const alive = new Uint8Array(n);
  for (let place = 0; place < n; place++)
    if (kept[place] && reached[writer[place]] && readerLeads(reader[place])) alive[place] = 1;
  return alive;
}

function total(flags) {
  let sum = 0;
  for (let place = 0; place < flags.length; place++) sum += flags[place];
  return sum;
}
