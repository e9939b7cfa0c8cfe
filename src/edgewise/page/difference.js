// The panel's page about two circuits.

function differencePage() {
  if (!other) return null;
  const body = el("div", { id: "difference" });
  const draw = () => {
    const { shared, left, right } = scene.parts;
    const [n, m] = [shared + left, shared + right];
    const union = shared + left + right;
    const expected = (n * m) / graph.nEdges;
    const saved = state.k === null;
    const line = (term, value, id) => [
      el("dt", {}, term),
      el("dd", { id: id || null, class: "num" }, value),
    ];
    body.replaceChildren(
      el(
        "table",
        { class: "edges" },
        el("caption", {}, "Kept edges"),
        el(
          "tbody",
          {},
          [
            ["shared", "in both", shared],
            ["left", `only ${sideName("left")}`, left],
            ["right", `only ${sideName("right")}`, right],
          ].map(([part, words, value]) =>
            el(
              "tr",
              {},
              el(
                "th",
                { scope: "row" },
                el("i", { class: "swatch", style: `background:var(--${part})` }),
                words,
              ),
              el("td", { class: "num", id: `n-${part}` }, count(value)),
              el("td", { class: "num soft" }, union ? percent(value / union) : "–"),
            ),
          ),
        ),
      ),
      el(
        "dl",
        { class: "facts" },
        line("in either", count(union), "n-union"),
        line("intersection / union", number(union ? shared / union : 1), "iou"),
        line("expected by chance", number(expected), "expected"),
        line("times chance", expected ? `${number(shared / expected)}×` : "–", "times"),
        line("p (as many by chance)", saved ? probability(other.overlap.p_value) : "–"),
      ),
      el(
        "p",
        { class: "soft" },
        `Chance: two random circuits of ${count(n)} and ${count(m)} of ${count(graph.nEdges)} edges (hypergeometric).`,
      ),
      ...["left", "right"].map((side) => {
        const facts = side === "left" ? data.facts : other.facts;
        return el(
          "p",
          {},
          el("strong", {}, sideName(side)),
          " ",
          el("span", { class: "soft" }, factsText(facts)),
        );
      }),
    );
  };
  draw();
  watchers.push((changed) => {
    if (changed.has("scene")) draw();
  });
  return body;
}

const probability = (p) => (p < 1e-300 ? "< 10⁻³⁰⁰" : number(p));
const sideName = (side) => {
  const same = data.label === other.label;
  return side === "left" ? (same ? "left" : data.label) : same ? "right" : other.label;
};
