// The panel's page of sample prompts, with what the model and the circuit predict.

const visible = (text) => text.replaceAll("\n", "⏎").replace(/^ | $/g, "␣");

function predictions(title, tokens, answer) {
  return el(
    "div",
    { class: "predictions" },
    el("h2", {}, title),
    el(
      "ol",
      {},
      tokens.map(([token, chance]) =>
        el(
          "li",
          { class: token === answer ? "right" : "" },
          el("span", { class: "token", title: token }, visible(token)),
          el("span", { class: "chance", style: `--p:${(100 * chance).toFixed(1)}%` }),
          el("span", { class: "num" }, percent(chance)),
        ),
      ),
    ),
  );
}

function samplesPage() {
  const samples = data.report && data.report.samples;
  if (!samples || !samples.length) return null;
  return el(
    "div",
    {},
    samples.map((sample) =>
      el(
        "article",
        { class: "sample" },
        el(
          "p",
          { class: "prompt" },
          sample.prompt,
          /^\s*/.exec(sample.answer)[0],
          el("mark", {}, sample.answer.trimStart()),
        ),
        sample.corrupted
          ? el(
              "p",
              { class: "prompt soft" },
              el("span", { class: "tag" }, "paired with"),
              " ",
              sample.corrupted,
            )
          : null,
        el(
          "div",
          { class: "pair" },
          predictions("full model", sample.full || [], sample.answer),
          predictions("circuit", sample.circuit || [], sample.answer),
        ),
      ),
    ),
  );
}
