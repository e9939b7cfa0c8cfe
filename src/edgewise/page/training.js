// The panel's page of training curves.

function trainingPage() {
  const { history } = data;
  if (!history || history.step.length < 2) return null;
  const column = (name) => history.step.map((step, i) => [step, history[name][i]]);
  const x = { name: "step", format: count };
  const figures = [];
  for (const name of ["kl", "loss"].filter((name) => history[name]))
    if (name === "kl" || !history.kl || history.loss.some((v, i) => v !== history.kl[i]))
      figures.push(
        el(
          "figure",
          {},
          el("figcaption", {}, name === "kl" ? "KL divergence (nats)" : "Loss"),
          chart({
            label: `${name} by step`,
            x,
            y: { zero: true, format: number },
            lines: [{ points: column(name), colour: "var(--v)" }],
          }).node,
        ),
      );
  const densities = ["density", "target"].filter((name) => history[name]);
  if (densities.length)
    figures.push(
      el(
        "figure",
        {},
        el(
          "figcaption",
          {},
          "Density",
          densities.length > 1
            ? el("div", { class: "soft" }, "Solid: open gates. Dashed: target.")
            : null,
        ),
        chart({
          label: "density by step",
          x,
          y: { log: true, format: densityText },
          lines: densities.map((name) => ({
            points: column(name),
            colour: name === "target" ? "var(--soft)" : "var(--ink)",
            dash: name === "target" ? "4 3" : null,
          })),
        }).node,
      ),
    );
  return figures.length ? el("div", {}, figures) : null;
}
