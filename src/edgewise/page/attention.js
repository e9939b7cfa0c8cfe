// The panel's page of attention patterns.

function attentionPage() {
  const patterns = data.attention;
  if (!patterns.length) return null;
  const name = (p) => `a${p.layer}.h${p.head}`;
  const body = el("div");
  const heads = [...new Set(patterns.map(name))];
  const choose = el(
    "select",
    { "aria-label": "Head", onchange: () => show(choose.value) },
    heads.map((head) => el("option", {}, head)),
  );
  const show = (head) => {
    choose.value = head;
    body.replaceChildren(
      ...patterns
        .filter((p) => name(p) === head)
        .map((p) => {
          const reading = el("p", { class: "soft reading" }, "Point at a square.");
          const tell = (text) => {
            reading.textContent = text;
          };
          return el(
            "article",
            { class: "sample" },
            el("p", { class: "prompt" }, p.tokens.join("")),
            el(
              "div",
              { class: "pair" },
              ["full", "circuit"].map((side) =>
                el(
                  "div",
                  {},
                  el("h2", {}, side === "full" ? "full model" : "circuit"),
                  heatmap(`${head}, ${side}`, p.tokens, p[side], tell),
                ),
              ),
            ),
            reading,
          );
        }),
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
    el("p", {}, choose, " ", el("span", { class: "soft" }, "rows attend to columns")),
    body,
  );
}
