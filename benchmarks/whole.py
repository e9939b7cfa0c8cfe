"""Whole searches against plain Hugging Face work on the same prompts, step for step.

    python benchmarks/whole.py [ioi:200:auto ...] [--model smollm2-135m] [--density 0.02]
        [--threads 2] [--every 10] [--write]

A case is a task, its training prompts, and the precision of the search; the search is
`edgewise.discover` with its defaults but for these. Every few steps, between two of them, the plain
work of a step is timed on as many prompts of the task: two no-grad forwards, and one forward and
backward to the embeddings, in float32 and in bfloat16. The figures are the search's own seconds a
step, the start from attribution scores included, over the medians of these. --write puts them into
docs/scaling.md.
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

CASES = ("ioi:200:auto", "ioi:200:model", "ioi:2000:auto", "greater-than:150:auto")
HEADER = (
    "case", "searched in", "search (s)", "training KL", "plain work in", "plain (s)",
    "mean step / plain", "last steps / plain",
)  # fmt: skip
DTYPES = (torch.float32, torch.bfloat16)


def named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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


def measured(model: Model, case: str, density: float, every: int) -> list[tuple[str, ...]]:
    """A case's rows of the table."""
    name, train, precision = case.split(":")
    task = edgewise.tasks.make(name, model.tokenizer, train=int(train), test=1)
    method = edgewise.EdgePruning(density=density, precision=precision)
    watch = Watch(model, task, method.batch_size, every)
    with tempfile.TemporaryDirectory() as folder:
        found = edgewise.discover(model, task, method, out=Path(folder) / "run", progress=watch)
    mean, last = watch.last / len(watch.steps), statistics.median(watch.steps[-20:])
    kl = statistics.mean(record["kl"] for record in found.history[-20:])
    of_search = (case, found.scores.provenance["search_dtype"], f"{watch.last:.0f}", f"{kl:.3f}")
    rows = []
    for dtype, times in watch.found.items():
        middle = statistics.median(times)
        ratios = (f"{mean / middle:.2f}", f"{last / middle:.2f}")
        rows.append((*of_search, named(dtype), f"{middle:.2f}", *ratios))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = edgewise.load(given.model, dtype="float32", device="cpu")
    lines = [HEADER]
    for case in given.cases:
        lines += measured(model, case, given.density, given.every)
        print(*("  ".join(row) for row in lines[-len(DTYPES) :]), sep="\n", flush=True)
    print(aligned(lines))
    if given.write:
        steps = edgewise.EdgePruning(density=given.density)
        said = (
            f"{given.model}, {steps.steps} steps of {steps.batch_size} prompts to a density of "
            f"{given.density:g}, {steps.cache_gb:g} GB for kept runs."
        )
        fill("whole", f"{said}\n\n{markdown(lines)}", given.threads)


if __name__ == "__main__":
    main()
