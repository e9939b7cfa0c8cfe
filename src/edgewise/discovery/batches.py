"""Training batches: a fixed cut of the training split, taken in a new order every epoch.

Which batch a step sees follows from the seed and the step alone, so a resumed run goes on as if it
had never stopped. Since the batches stay the same, what depends on the prompts alone (the full
model's logits, the ablated run) is computed once for each and kept, as long as all of them fit in a
budget of memory. Of more prompts than that nothing is kept but their order, 4 bytes each.
"""

import math
from functools import cached_property

import numpy as np
from jaxtyping import Int

from edgewise.discovery.found import Search
from edgewise.prepared import Prepared, prepare


class Batches:
    """Prepared batches by step.

    batch_size     prompts in each at most; the cut is even, so none is left out
    memory         bytes that kept batches may take
    """

    def __init__(self, search: Search, batch_size: int, memory: float):
        self.search, self.memory = search, memory
        self.count = len(search.task.examples("train"))
        self.n_batches = math.ceil(self.count / batch_size)
        self.kept: dict[int, Prepared] = {}

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

    def at(self, step: int) -> Prepared:
        """The batch of a step."""
        epoch, place = divmod(step, self.n_batches)
        order = np.random.default_rng([self.search.seed, epoch]).permutation(self.n_batches)
        number = int(order[place])
        if number in self.kept:
            return self.kept[number]
        batch = self.search.task.batch("train", self.prompts(number))
        ready = prepare(self.search.model, batch, self.search.ablation, self.search.reference)
        if ready.n_bytes * self.n_batches <= self.memory:
            self.kept[number] = ready
        return ready
