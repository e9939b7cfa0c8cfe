"""A task made of random tokens for the models of `tiny`, without a tokenizer."""

from dataclasses import replace

import numpy as np
import torch

import tiny
from edgewise.models.model import Model, build
from edgewise.tasks import Example, Task


def example(number: int, longest: int = 6, answers: int = 2, distractor: bool = True) -> Example:
    """A prompt of 3 to `longest` tokens with 1 to `answers` answers.

    Its corrupted twin is another random prompt; answer and distractor are random too.
    """
    draw = np.random.default_rng([11, number])
    length, n = int(draw.integers(3, longest + 1)), int(draw.integers(1, answers + 1))
    clean, corrupted = (tuple(draw.integers(0, tiny.VOCABULARY, length).tolist()) for _ in "cc")
    right = tuple(draw.integers(0, tiny.VOCABULARY, n).tolist())
    wrong = int(draw.integers(0, tiny.VOCABULARY)) if distractor else None
    return Example(clean, corrupted, tuple(range(length - n, length)), right, wrong)


def task(train: int = 12, longest: int = 6, answers: int = 2) -> Task:
    """`train` prompts, every second of them with a distractor."""
    prompts = tuple(example(i, longest, answers, bool(i % 2)) for i in range(train))
    return Task("toy", {"train": prompts}, pad_id=0, description={"task": "toy"})


def judged(train: int = 4) -> Task:
    """The same with sets of right and wrong answers."""
    prompts = tuple(
        replace(one, good=(one.answers[0], i), bad=(i + 4,))
        for i, one in enumerate(task(train).splits["train"])
    )
    return Task("judged", {"train": prompts}, pad_id=0, description={"task": "judged"})


def fresh(name: str = "gpt2", dtype: torch.dtype = torch.float32) -> Model:
    """A model of `tiny`'s table that no other test shares, to be spoilt."""
    family, make = tiny.MODELS[name]
    return build(make().to(dtype), None, name, family, "joint")
