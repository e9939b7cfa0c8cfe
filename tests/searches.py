"""A small search, ways to interrupt it, and what its folder holds then."""

import json
from dataclasses import replace
from pathlib import Path

import safetensors.numpy

import toy
from edgewise.discovery import EdgePruning

TASK = toy.task(8)
STEPS = 12
BUDGET = EdgePruning(
    density=0.4, steps=STEPS, batch_size=3, noise=1.0, checkpoint_every=5, precision="model"
)
LAGRANGIAN = replace(
    BUDGET, control="lagrangian", noise=0.0, init="open", init_log_alpha=0.5, nodes=True, lr=0.5,
    warmup=3, weight_decay=0.01, clip=0.5, sparsity_warmup=6,
)  # fmt: skip


class Stop(Exception):
    """An interruption."""


def stop_after(step: int):
    """A `progress` that interrupts the training once it has saved that step's record."""

    def progress(record):
        if record["phase"] == "training" and record["step"] == step:
            raise Stop

    return progress


def values(path: Path) -> bytes:
    """The scores of a run folder, bit for bit."""
    return safetensors.numpy.load_file(path / "scores.safetensors")["values"].tobytes()


def lines(path: Path) -> list[dict]:
    """The records of a run folder."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def records(path: Path) -> list[dict]:
    """Those, without the time, which no two runs share."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in lines(path)]
