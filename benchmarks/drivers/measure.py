"""What every driver of `benchmarks/peers.py` does: the same arguments, prompts and measurement.

A driver runs in its own environment, so this imports nothing but torch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--paper", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    return given


def prompts(batch: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Random clean and corrupted prompts (B, T)."""
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(0, 50257, (2, batch, tokens), generator=generator)
    return clean, corrupted


def report(step: Callable[[], float], edges: int, repeats: int) -> None:
    """Print, as JSON, the median seconds of the repeated steps after the first, and the peak of all
    resident memory above what there was before it: Linux's high-water mark, set back."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _highest()
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - began)
    middle, peak = statistics.median(seconds[1:]), _highest() - before
    print(json.dumps({"seconds": middle, "bytes": peak, "edges": edges, "kl": loss}))


def _highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
