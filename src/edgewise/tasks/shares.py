"""A set of prompts shared among processes, each share cut into pieces that fit in memory.

Weights are those that the prompts have in the whole set of P: 1 / (P * positions of the prompt). So
a weighted sum over a piece, summed over pieces and processes, is the mean over all P prompts, and
its gradient the gradient, however they were cut.

Every process gets as many pieces as any other, because processes that share a model's weights ask
for them together. One that has no prompt left gets a stand-in: the first prompt, with weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from edgewise import runtime
from edgewise.errors import ConfigError
from edgewise.tasks.example import Batch
from edgewise.tasks.task import Task


def cut(n: int, at_most: int | None = None, rank: int = 0, processes: int = 1) -> list[range]:
    """Process `rank`'s share of n prompts, as even as can be, in even pieces of up to `at_most`.

    As many pieces for every rank; one may be empty. `at_most` None makes one piece; ConfigError if
    it is below 1.
    """
    if at_most is not None and at_most < 1:
        raise ConfigError(f"batch size {at_most}: it must be 1 or more")
    pieces = 1 if at_most is None else math.ceil(math.ceil(n / processes) / at_most)
    share = _even(range(n), processes)[rank]
    return _even(share, pieces)


@dataclass(frozen=True, eq=False)
class Share(Sequence[Batch]):
    """This process's pieces of a split's prompts at `indices`, each made when it is asked for."""

    task: Task
    split: str
    indices: Sequence[int]
    at_most: int | None = None

    @cached_property
    def _pieces(self) -> list[range]:
        return cut(len(self.indices), self.at_most, runtime.rank(), runtime.world_size())

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, number: int) -> Batch:
        piece = self._pieces[number]
        chosen = [self.indices[i] for i in piece] or [self.indices[0]]
        batch = self.task.batch(self.split, chosen)
        return replace(batch, weights=batch.weights * (len(piece) / len(self.indices)))


def _even(whole: range, parts: int) -> list[range]:
    ends = [len(whole) * part // parts for part in range(parts + 1)]
    return [whole[start:end] for start, end in pairwise(ends)]
