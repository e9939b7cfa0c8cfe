"""Training batches: once through the first prompts, or a fixed cut in a new order every epoch.

Which batch a step sees follows from the seed and the step alone, so a resumed run goes on as if it
had never stopped. A process takes its share of a batch, in pieces (`tasks.shares`). Since they stay
the same, what depends on the prompts alone (the full model's logits, the ablated run) is computed
once for each and kept, as long as all of them fit in a budget of memory. Of more prompts than that
nothing is kept but their order, 4 bytes each.
"""

import math
import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from jaxtyping import Int

from edgewise import runtime
from edgewise.discovery.found import Search
from edgewise.prepared import Prepared, prepare
from edgewise.tasks.shares import Share


def in_order(
    search: Search, batch_size: int, prompts: int | None, phase: str | None = None
) -> Iterator[Prepared]:
    """This process's pieces of the first `prompts` training prompts (None: all), once.

    Weights are those among all of them. With a `phase`, reports how far the work has come.
    """
    there = len(search.task.examples("train"))
    total = there if prompts is None else min(there, prompts)
    at_most, began = min(batch_size, search.at_most or batch_size), time.monotonic()
    share = Share(search.task, "train", range(total), at_most)
    for number, batch in enumerate(share, start=1):
        yield prepare(search.model, batch, search.ablation, search.reference)
        if phase is not None and search.progress is not None:
            done, seconds = round(total * number / len(share)), time.monotonic() - began
            left = seconds * (total - done) / done
            shown = {"phase": phase, "step": done, "steps": total}
            search.progress({**shown, "seconds": seconds, "seconds_left": left})


class Batches:
    """This process's prepared pieces of batches, by step.

    batch_size     prompts in a batch at most; the cut is even, so none is left out
    memory         bytes that kept pieces may take
    """

    def __init__(self, search: Search, batch_size: int, memory: float):
        self.search, self.memory = search, memory
        self.count = len(search.task.examples("train"))
        self.n_batches = math.ceil(self.count / batch_size)
        self.kept: dict[tuple[int, int], Prepared] = {}

    @cached_property
    def order(self) -> Int[np.ndarray, " P"]:
        """The split's prompts in the order in which they are cut into batches."""
        order = np.random.default_rng(self.search.seed).permutation(self.count)
        return order.astype(np.int32)

    def prompts(self, number: int) -> list[int]:
        """Indices of a batch's prompts; the first few batches have one more than the others."""
        size, longer = divmod(self.count, self.n_batches)
        start = number * size + min(number, longer)
        return self.order[start : start + size + (number < longer)].tolist()

    def at(self, step: int) -> Iterator[Prepared]:
        """The pieces of a step's batch. Weights are those in the whole batch."""
        epoch, place = divmod(step, self.n_batches)
        order = np.random.default_rng([self.search.seed, epoch]).permutation(self.n_batches)
        number, search = int(order[place]), self.search
        share = Share(search.task, "train", self.prompts(number), search.at_most)
        for i in range(len(share)):
            # Without a name here, so that none is kept while the next is made.
            yield self.kept.get((number, i)) or self._prepared(share, number, i)

    def _prepared(self, share: Share, number: int, i: int) -> Prepared:
        search = self.search
        ready = prepare(search.model, share[i], search.ablation, search.reference)
        # All processes keep a piece or none does: they must go through the model together.
        if runtime.largest(ready.n_bytes) * len(share) * self.n_batches <= self.memory:
            self.kept[number, i] = ready
        return ready
