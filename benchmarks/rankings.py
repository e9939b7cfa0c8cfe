"""What EAP and EAP-IG take, over one plain forward and backward on the same prompts.

    python benchmarks/rankings.py [gpt2:16x20:float32 ...] [--steps 1 2 4 8 16] [--repeats 3]
        [--threads 2] [--write]

A ranking is all of `edgewise.discover`, on one batch of random prompts and random weights (but for
smollm2-135m); plain is Hugging Face's forward, and backward to the embeddings. They are timed in
turn, and medians are compared. EAP-IG's seconds are a + b S in its steps S, by least squares; the
last column is how far a point is from that line at most. --write puts the table into
docs/scaling.md.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import plain
import torch
from dense import medians, parsed, random_task
from step import model_of
from table import fill

import edgewise
from edgewise.discovery import EAP, EAPIG
from edgewise.table import aligned, markdown


def measured(case: str, steps: Sequence[int], repeats: int) -> dict[str, float]:
    """Median seconds of plain work, EAP, and EAP-IG by its steps."""
    name, prompts, tokens, dtype = parsed(case)
    model = model_of(name, dtype)
    task = random_task(model, prompts, tokens)
    ids = task.batch("train", range(prompts)).input_ids
    rows, cols = torch.arange(prompts), torch.full((prompts,), tokens - 1)
    methods = {"EAP": EAP(batch_size=prompts)}
    methods |= {str(s): EAPIG(steps=s, batch_size=prompts) for s in steps}
    kinds: dict[str, Callable[[], object]] = {
        "plain": lambda: plain.backward(model.hf, ids, rows, cols)
    }
    for key, method in methods.items():
        kinds[key] = lambda method=method: edgewise.discover(model, task, method)
    return medians(kinds, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=["gpt2:16x20:float32"])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    titles = (f"EAP-IG, S = {s}" for s in given.steps)
    lines = [("case", "plain (s)", "EAP / plain", *titles, "(a + b S) / plain", "off by")]
    for case in given.cases:
        found = measured(case, given.steps, given.repeats)
        ratios = np.array([found[str(s)] for s in given.steps]) / found["plain"]
        b, a = np.polyfit(given.steps, ratios, 1)
        off = np.abs(np.polyval([b, a], given.steps) / ratios - 1).max()
        cells = (f"{found['EAP'] / found['plain']:.2f}", *(f"{ratio:.2f}" for ratio in ratios))
        lines.append((case, f"{found['plain']:.2f}", *cells, f"{a:.2f} + {b:.2f} S", f"{off:.0%}"))
    print(aligned(lines))
    if given.write:
        fill("rankings", markdown(lines), given.threads)


if __name__ == "__main__":
    main()
