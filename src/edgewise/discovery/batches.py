"""Training batches: once through the first prompts, or a fixed cut in a new order every epoch.

Which batch a step sees follows from the seed and the step alone, so a resumed run goes on as if it
had never stopped. A process takes its share of a batch, in pieces (`tasks.shares`). Since they stay
the same, what depends on the prompts alone (the full model's logits, the ablated run) is kept of
batches that come again, as far as a budget of memory goes, and dropped when they have come for the
last time. Of the others nothing is kept but their order, 4 bytes a prompt, and 4 bytes a batch.
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
    search: Search,
    batch_size: int,
    prompts: int | None,
    phase: str | None = None,
    full: bool = True,
    everywhere: bool = False,
) -> Iterator[Prepared]:
    """This process's pieces of the first `prompts` training prompts (None: all), once.

    Weights are those among all of them. With a `phase`, reports how far the work has come; `full`
    and `everywhere` as in `prepare`.
    """
    there = len(search.task.examples("train"))
    total = there if prompts is None else min(there, prompts)
    at_most, began = min(batch_size, search.at_most or batch_size), time.monotonic()
    share = Share(search.task, "train", range(total), at_most)
    for number, batch in enumerate(share, start=1):
        yield prepare(search.model, batch, search.ablation, search.reference, full, everywhere)
        if phase is not None and search.progress is not None:
            done, seconds = round(total * number / len(share)), time.monotonic() - began
            left = seconds * (total - done) / done
            shown = {"phase": phase, "step": done, "steps": total}
            search.progress({**shown, "seconds": seconds, "seconds_left": left})


class Batches:
    """This process's prepared pieces of batches, by step.

    batch_size     prompts in a batch at most; the cut is even, so none is left out
    memory         bytes that kept pieces may take
    steps          how many there will be
    """

    def __init__(self, search: Search, batch_size: int, memory: float, steps: int):
        self.search, self.memory, self.steps = search, memory, steps
        self.count = len(search.task.examples("train"))
        self.n_batches = math.ceil(self.count / batch_size)
        self.kept: dict[tuple[int, int], Prepared] = {}
        self.largest = 0  # bytes of a piece so far, in any process

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

    @cached_property
    def last(self) -> Int[np.ndarray, " B"]:
        """The last step of each batch; -1 of one that never comes."""
        last = np.full(self.n_batches, -1, np.int32)
        epochs = math.ceil(self.steps / self.n_batches)
        for epoch in range(max(0, epochs - 2), epochs):  # the last may be cut short
            start = epoch * self.n_batches
            order = self._epoch(epoch)[: self.steps - start]
            last[order] = start + np.arange(len(order))
        return last

    def _epoch(self, epoch: int) -> Int[np.ndarray, " B"]:
        return np.random.default_rng([self.search.seed, epoch]).permutation(self.n_batches)

    def at(self, step: int) -> Iterator[Prepared]:
        """The pieces of a step's batch. Weights are those in the whole batch."""
        epoch, place = divmod(step, self.n_batches)
        number = int(self._epoch(epoch)[place])
        share = Share(self.search.task, "train", self.prompts(number), self.search.at_most)
        again = step < int(self.last[number])
        for i in range(len(share)):
            # Without a name here, so that none is held while the next is made.
            yield self._piece(share, number, i, again)

    def _piece(self, share: Share, number: int, i: int, again: bool) -> Prepared:
        search, key = self.search, (number, i)
        if key in self.kept:
            return self.kept[key] if again else self.kept.pop(key)
        ready = prepare(search.model, share[i], search.ablation, search.reference)
        if again:
            # All processes keep a piece or none does: they must go through the model together.
            self.largest = max(self.largest, runtime.largest(ready.n_bytes))
            if self.largest * (len(self.kept) + 1) <= self.memory:
                self.kept[key] = ready
        return ready
