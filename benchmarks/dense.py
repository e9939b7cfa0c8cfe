"""A search that can leave nothing out: random prompts, and every gate open in part at every step.

What benchmarks share: the search and its prompts, shapes by name, medians of what is timed in turn,
and work in a process of its own, so that each case begins with an empty heap.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

import edgewise
from edgewise.discovery import Found
from edgewise.models.model import Model
from edgewise.models.shapes import shape
from edgewise.tasks.example import Example


def search(model: Model, prompts: int, tokens: int, steps: int) -> Found:
    """`steps` steps on one batch; the first of them makes the reference and corrupted runs."""
    still = {"density": 0.5, "start_density": 0.5, "final_temperature": 1.0, "lr": 0.0}
    method = edgewise.EdgePruning(
        steps=steps, batch_size=prompts, init="open", precision="model", **still
    )
    return edgewise.discover(model, random_task(model, prompts, tokens), method)


def random_task(model: Model, prompts: int, tokens: int) -> edgewise.Task:
    """Random prompts without a distractor, one answer at the end of each."""
    generator = torch.Generator().manual_seed(0)
    size = (prompts, 2, tokens)
    ids = torch.randint(0, model.config.vocab_size, size, generator=generator).tolist()
    examples = [Example(tuple(a), tuple(b), (tokens - 1,), (0,)) for a, b in ids]
    return edgewise.Task("random", {"train": examples}, pad_id=0)


def medians(kinds: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each kind of work, done in turn; the first time of each isn't counted."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(1 + repeats):
        for name, work in kinds.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items() if each[1:]}


def parsed(case: str) -> tuple[str, int, int, torch.dtype]:
    """Shape, prompts, tokens and dtype of "gpt2:16x20:float32"."""
    name, size, dtype = case.split(":")
    prompts, tokens = map(int, size.split("x"))
    return name, prompts, tokens, getattr(torch, dtype)


def config_of(name: str) -> PretrainedConfig:
    """A shape, or "shape/n": one with n layers."""
    name, _, layers = name.partition("/")
    config = shape(name)
    if layers:
        config.num_hidden_layers = int(layers)
    return config


def apart(script: str, *given: str, tidy: bool = True) -> Any:
    """The JSON that a script prints last, run in a process of its own.

    tidy    its heap gives back what is freed: glibc would keep holes of a hundred megabytes or
            more, which belong to no tensor. But new pages cost time
    """
    place = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "65536"} if tidy else {})
    command = [sys.executable, script, *given]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=place)
    return json.loads(done.stdout.splitlines()[-1])
