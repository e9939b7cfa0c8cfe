"""A step, EAP's pass and the runs before it on the prompts of real tasks, where tokens are alike.

    python benchmarks/alike.py [ioi greater-than ...] [--model smollm2-135m] [--prompts 16]
        [--threads 2] [--repeats 5] [--write]

alike   of the tokens of masked runs, those left out: before a prompt parts from its corrupted one
step    reference and corrupted run, masked forward, backward, every gate open in part
EAP     the corrupted run, the full run, and the gradient for all edges

Both over plain Hugging Face work on the same padded prompts: for a step two no-grad forwards, and
one forward and backward to the embeddings, for EAP that forward and backward. All are timed in
turn and medians are compared. --write puts the table into docs/scaling.md.
"""

import argparse

import plain
import torch
from dense import medians
from table import fill

import edgewise
from edgewise.models.model import Model
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare
from edgewise.stream import dense_mask
from edgewise.table import aligned, markdown
from edgewise.tasks import make
from edgewise.workspace import Workspace

TASKS = ("ioi", "gendered-pronoun", "greater-than", "capitals", "boolean", "capitals-few-shot")


def row(model: Model, name: str, prompts: int, repeats: int) -> tuple[str, ...]:
    task = make(name, model.tokenizer, train=prompts, test=1)
    batch, workspace = task.batch("train", range(prompts)), Workspace()
    method = edgewise.EAP(batch_size=prompts)
    log_alpha = torch.zeros(model.graph.n_edges, requires_grad=True)

    def step() -> None:
        ready = prepare(model, batch)
        mask = dense_mask(model.graph, gates.gate(log_alpha))
        kl_rows(ready.full, ready.logits(mask, live=True, workspace=workspace)).mean().backward()

    def attribution() -> None:
        edgewise.discover(model, task, method)

    def forwards() -> None:
        plain.forwards(model.hf, batch.input_ids, batch.counterfactual_ids, seen)

    def backward() -> None:
        plain.backward(model.hf, batch.input_ids, batch.rows, batch.cols, seen)

    seen = batch.attention_mask.long()
    ready = prepare(model, batch)
    count = ready.outer.tokens.count
    alike = 0.0 if ready.own is None else 1 - len(ready.own) / count
    kinds = {each.__name__: each for each in (step, attribution, forwards, backward)}
    found = medians(kinds, repeats)
    ours, theirs = found["step"], found["forwards"] + found["backward"]
    return (
        name,
        f"{count / prompts:.1f}",
        f"{alike:.0%}",
        f"{ours:.2f}",
        f"{theirs:.2f}",
        f"{ours / theirs:.2f}",
        f"{found['attribution'] / found['backward']:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = edgewise.load(given.model, dtype="float32", device="cpu")
    lines = [
        ("task", "tokens a prompt", "alike", "step (s)", "plain (s)", "step / plain", "EAP / plain")
    ]
    for name in given.tasks:
        lines.append(row(model, name, given.prompts, given.repeats))
        print(*lines[-1], sep="  ", flush=True)
    print(aligned(lines))
    if given.write:
        fill(
            "alike",
            f"{given.model}, {given.prompts} prompts, float32.\n\n{markdown(lines)}",
            given.threads,
        )


if __name__ == "__main__":
    main()
