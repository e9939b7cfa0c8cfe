"""Does a task of 100,000 prompts cost more than one of 200? Time, memory, and seconds a step.

    python benchmarks/dataset.py [--model smollm2-135m] [--task ioi] [--sizes 200 10000 100000]
        [--steps 8] [--batch 16] [--threads 2]

For each number of training prompts: seconds to make the task and to fingerprint it, bytes of
Python objects that it then holds (tracemalloc), and the median time of an optimisation step that
keeps nothing for the next epoch. Ratios are to the first size. Before anything is timed, the
prompts are checked: a larger task begins with the smaller one's, has the same test prompts, and
repeats none.
"""

import argparse
import statistics
import time
import tracemalloc
from itertools import pairwise

import torch

import edgewise
from edgewise.discovery import EdgePruning
from edgewise.files import readable
from edgewise.models.model import Model
from edgewise.tasks import Task

SEEN = 200  # prompts that are compared


def verify(tasks: list[Task]) -> None:
    """Larger tasks begin as the smallest one does, have its test prompts, and repeat none."""
    first = tasks[0]
    count = min(SEEN, len(first.splits["train"]))
    for task in tasks:
        for split in ("train", "test"):
            ours, theirs = task.splits[split][:count], first.splits[split][:count]
            assert list(ours) == list(theirs), split
        train = task.splits["train"]
        spread = [train[i].clean for i in range(0, len(train), max(1, len(train) // SEEN))]
        held_out = {example.clean for example in task.splits["test"]}
        assert len(set(spread)) == len(spread)
        assert held_out.isdisjoint(spread)


def cost(make: dict[str, int], name: str, model: Model) -> tuple[float, float, int]:
    """Seconds to make a task, seconds to fingerprint it, and the bytes it holds."""
    began = time.perf_counter()
    task = edgewise.tasks.make(name, model.tokenizer, **make)
    made = time.perf_counter()
    task.fingerprint()
    read = time.perf_counter()
    tracemalloc.start()
    again = edgewise.tasks.make(name, model.tokenizer, **make)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(again.splits["train"]) == make["train"]
    return made - began, read - made, held


def step_seconds(model: Model, task: Task, steps: int, batch: int) -> float:
    """Median over steps, the first left out; each takes a new batch and keeps nothing."""
    method = EdgePruning(density=0.02, steps=steps, batch_size=batch, init="open", cache_gb=0.0)
    seconds = [record["seconds"] for record in edgewise.discover(model, task, method).history]
    return statistics.median(b - a for a, b in pairwise(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 10_000, 100_000])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = edgewise.load(given.model)
    sizes = [{"train": size, "validation": 0, "test": 100} for size in given.sizes]
    tasks = [edgewise.tasks.make(given.task, model.tokenizer, **size) for size in sizes]
    verify(tasks)
    first = None
    for size, task in zip(sizes, tasks, strict=True):
        made, read, held = cost(size, given.task, model)
        step = step_seconds(model, task, given.steps, given.batch)
        first = first or (made, held, step)
        ratios = [ours / theirs for ours, theirs in zip((made, held, step), first, strict=True)]
        print(
            f"{size['train']:>9,} prompts: made in {made:.2f} s (x{ratios[0]:.2f}), fingerprint "
            f"{read:.2f} s, {readable(held)} (x{ratios[1]:.2f}), step {step:.2f} s "
            f"(x{ratios[2]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
