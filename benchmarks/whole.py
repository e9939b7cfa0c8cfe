"""A whole search against plain Hugging Face work on the same prompts, step for step.

    python benchmarks/whole.py [--model smollm2-135m] [--task ioi] [--train 2000] [--density 0.02]
        [--precision model] [--threads 2] [--every 10] [--out FOLDER] [--write]

The search is `edgewise.discover` with its defaults, but for the precision if one is given. Every
few steps, between two of them, the plain work of a step is timed on as many prompts of the task:
two no-grad forwards, and one forward and backward to the embeddings, in float32 and in bfloat16.
The figures are the search's own seconds a step, the start from attribution scores included, over
the medians of these. --write puts them into docs/scaling.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plain
import torch
from table import fill

import edgewise
from edgewise.models.model import Model, cast
from edgewise.table import aligned, markdown
from edgewise.tasks import Batch, Task

DTYPES = (torch.float32, torch.bfloat16)


def plain_seconds(model: Model, batch: Batch) -> float:
    """Seconds of the plain work on a batch."""
    mask = batch.attention_mask.long()
    began = time.perf_counter()
    plain.forwards(model.hf, batch.input_ids, batch.counterfactual_ids, mask)
    plain.backward(model.hf, batch.input_ids, batch.rows, batch.cols, mask)
    return time.perf_counter() - began


class Watch:
    """The search's seconds without those of the plain work in between."""

    def __init__(self, model: Model, task: Task, size: int, every: int):
        self.task, self.size, self.every = task, size, every
        self.models = {dtype: cast(model, dtype) for dtype in DTYPES}
        self.found: dict[torch.dtype, list[float]] = {dtype: [] for dtype in DTYPES}
        self.away, self.last = 0.0, 0.0
        self.began = time.perf_counter()
        self.steps: list[float] = []

    def __call__(self, record: Mapping[str, Any]) -> None:
        if record["phase"] != "training":
            return
        now = time.perf_counter() - self.away - self.began
        self.steps.append(now - self.last)
        self.last = now
        if record["step"] % self.every == 0:
            before = time.perf_counter()
            first = record["step"] * self.size % (len(self.task.examples("train")) - self.size)
            batch = self.task.batch("train", range(first, first + self.size))
            for dtype, model in self.models.items():
                self.found[dtype].append(plain_seconds(model, batch))
            self.away += time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--precision", default="auto", choices=("auto", "model"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--out", type=Path, help="a run folder to keep; must be new")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = edgewise.load(given.model, dtype="float32", device="cpu")
    task = edgewise.tasks.make(given.task, model.tokenizer, train=given.train, test=200)
    method = edgewise.EdgePruning(density=given.density, precision=given.precision)
    watch = Watch(model, task, method.batch_size, given.every)
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch) / "run"
        found = edgewise.discover(model, task, method, out=out, progress=watch)
    steps, last = watch.steps, statistics.median(watch.steps[-20:])
    mean = watch.last / len(steps)
    lines = [("plain work in", "plain (s)", "mean step / plain", "last steps / plain")]
    for dtype, times in watch.found.items():
        middle = statistics.median(times)
        name = str(dtype).removeprefix("torch.")
        lines.append((name, f"{middle:.2f}", f"{mean / middle:.2f}", f"{last / middle:.2f}"))
    said = (
        f"{given.model}, {given.task}, {len(steps)} steps of {method.batch_size} prompts to "
        f"{len(found.circuit):,} edges, searched in {found.scores.provenance['search_dtype']}: "
        f"{watch.last:.0f} s, {mean:.2f} s a step, {last:.2f} s a step at the end, training KL "
        f"{statistics.mean(record['kl'] for record in found.history[-20:]):.3f} in the last 20"
    )
    print(said, aligned(lines), sep="\n")
    if given.write:
        fill("whole", f"{said}.\n\n{markdown(lines)}", given.threads)


if __name__ == "__main__":
    main()
