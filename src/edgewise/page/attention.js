// The panel's page of attention patterns: a head, and where it looks in each prompt.

// The weights of one side of a prompt, as a function of head, query and key.
function weightsOf(prompt, side) {
  const bytes = Uint8Array.from(atob(prompt[side]), (c) => c.charCodeAt(0));
  const n = prompt.tokens.length;
  return (head, query, key) =>
    bytes[(head * n * (n + 1)) / 2 + (query * (query + 1)) / 2 + key] / 255;
}

const SIDES = { full: "full model", circuit: "circuit" };

function attentionPage() {
  const prompts = data.attention.map((prompt) => ({
    ...prompt,
    weights: Object.fromEntries(Object.keys(SIDES).map((side) => [side, weightsOf(prompt, side)])),
  }));
  if (!prompts.length) return null;
  const heads = [...new Set(prompts.flatMap((prompt) => prompt.heads))];
  const inOrder = [...heads].sort((a, b) => graph.byName.get(a) - graph.byName.get(b));
  const body = el("div");
  const choose = el(
    "select",
    { "aria-label": "Head", onchange: () => show(choose.value) },
    inOrder.map((head) => el("option", {}, head)),
  );
  const show = (head) => {
    choose.value = head;
    body.replaceChildren(
      ...prompts.filter((p) => p.heads.includes(head)).map((p) => promptPatterns(p, head)),
    );
  };
  show(heads[0]);
  watchers.push((changed) => {
    const head = state.selected === null ? null : graph.components[state.selected].name;
    if (changed.has("selected") && heads.includes(head)) show(head);
  });
  return el(
    "div",
    {},
    el(
      "p",
      {},
      choose,
      " ",
      el("span", { class: "soft" }, "Rows look at columns."),
    ),
    body,
  );
}

function promptPatterns(prompt, head) {
  const { tokens } = prompt;
  const reading = el("p", { class: "soft reading" }, "Point at a square.");
  const place = prompt.heads.indexOf(head);
  const tell = (query, key) => {
    const shares = Object.entries(SIDES).map(
      ([side, name]) => `${percent(prompt.weights[side](place, query, key))} ${name}`,
    );
    reading.textContent = `${visible(tokens[query])} → ${visible(tokens[key])}: ${shares.join(", ")}`;
  };
  return el(
    "article",
    { class: "sample" },
    el("p", { class: "prompt" }, tokens.join("")),
    el(
      "div",
      { class: "pair" },
      Object.entries(SIDES).map(([side, name]) =>
        el(
          "div",
          {},
          el("h2", {}, name),
          heatmap(`${head}, ${name}`, tokens, (q, k) => prompt.weights[side](place, q, k), tell),
        ),
      ),
    ),
    reading,
  );
}

// Weights as squares: queries down, keys across. `tell` hears which square is pointed at.
function heatmap(title, tokens, weight, tell) {
  const n = tokens.length;
  const cell = Math.max(2, Math.min(16, Math.floor(1400 / n) / 10));
  const room = cell >= 6 ? 52 : 2; // for what tokens say
  const size = room + n * cell + 2;
  const node = svg("svg", {
    class: "heat",
    viewBox: `0 0 ${size} ${size}`,
    width: size,
    height: size,
    role: "img",
    "aria-label": title,
  });
  const short = (token) => (token.length > 8 ? `${token.slice(0, 7)}…` : token);
  const look = { style: `font-size:${Math.min(8.5, cell)}px` };
  if (room > 2)
    tokens.forEach((token, i) => {
      const middle = room + (i + 0.5) * cell + cell / 3;
      const turned = `translate(${middle},${room - 4}) rotate(-90)`;
      node.append(
        svg("text", { x: room - 4, y: middle, "text-anchor": "end", ...look }, short(token)),
        svg("text", { transform: turned, ...look }, short(token)),
      );
    });
  for (let q = 0; q < n; q++)
    for (let k = 0; k <= q; k++)
      if (weight(q, k) > 0)
        node.append(
          svg("rect", {
            x: room + k * cell,
            y: room + q * cell,
            width: cell,
            height: cell,
            fill: "var(--v)",
            "fill-opacity": Math.sqrt(weight(q, k)).toFixed(3),
          }),
        );
  const cellAt = (pixel, box) => Math.floor((pixel * size) / box.width / cell - room / cell);
  const point = (event) => {
    const box = node.getBoundingClientRect();
    const [q, k] = [cellAt(event.clientY - box.top, box), cellAt(event.clientX - box.left, box)];
    if (k >= 0 && k <= q && q < n) tell(q, k);
  };
  node.append(
    svg("rect", {
      class: "frame",
      x: room,
      y: room,
      width: n * cell,
      height: n * cell,
      onpointermove: point,
    }),
  );
  return node;
}
