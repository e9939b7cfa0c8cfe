"""The parts of a mask that a masked run really uses.

Each group of readers (the heads of a block, its MLP, the logits) applies a few rows of the mask to
the writers before it. Of a plan that leaves things out, only live rows and columns are cut, and
where most columns are zero throughout, only those that aren't: the mix is then over the few writers
that some reader of the group really reads.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.plan import Plan

GATHER_BELOW = 0.6  # of the columns in use: gathering them costs about one pass over each


@dataclass(frozen=True, eq=False)
class Cut:
    """One group's part of the mask.

    mask       its entries
    rows       the readers, as rows of the whole mask
    columns    the writers, as columns of the whole mask
    before     how many live writers come before the group: where its own heads' differences go
    slots      where the writers are in the difference buffer (None: they are its first `before`)
    """

    mask: Float[Tensor, "r w"]
    rows: Int[Tensor, "r 1"]
    columns: Int[Tensor, " w"]
    before: int
    slots: Int[Tensor, " w"] | None

    def take(
        self, delta: Float[Tensor, "W N D"], at: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "w n D"]:
        """These writers' differences, at all tokens or `at` some."""
        if self.slots is None:
            some = delta[: self.before]
            return some if at is None else some[:, at]
        return delta.index_select(0, self.slots) if at is None else delta[self.slots[:, None], at]

    def room(
        self, ddelta: Float[Tensor, "W N D"], at: Int[Tensor, " n"] | None = None
    ) -> tuple[Float[Tensor, "w n D"], bool]:
        """Where to add their gradients: the buffer itself, or (True) new memory to fill."""
        if self.slots is None and at is None:
            return ddelta[: self.before], False
        tokens = ddelta.shape[1] if at is None else len(at)
        return ddelta.new_empty(len(self.columns), tokens, ddelta.shape[2]), True

    def give(
        self,
        room: Float[Tensor, "w n D"],
        ddelta: Float[Tensor, "W N D"],
        at: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add to the buffer what `room` holds, where that isn't the buffer itself."""
        if self.slots is None and at is not None:
            ddelta[: self.before].index_add_(1, at, room)
        elif self.slots is not None and at is None:
            ddelta.index_add_(0, self.slots, room)
        elif self.slots is not None:
            ddelta.index_put_((self.slots[:, None], at), room, accumulate=True)

    def scatter(self, whole: Float[Tensor, "R W"], part: Float[Tensor, "r w"]) -> None:
        """Put a gradient of `mask` where it belongs in the whole mask's."""
        whole[self.rows, self.columns] = part


class Cuts:
    """Cuts a mask by a plan, in the model's dtype; each cut is made once, for both passes."""

    def __init__(self, work: Plan, mask: Float[Tensor, "R W"], dtype: torch.dtype):
        self.plan, self.graph, self.mask = work, work.graph, mask.to(dtype)
        self.columns = torch.from_numpy(np.flatnonzero(work.live)).to(mask.device)
        self.made: dict[int, Cut] = {}

    def attention(self, layer: int) -> Cut:
        """The live queries, keys and values of a block."""
        start = self.graph.attention_readers(layer).start
        rows = self.plan.layers[layer].readers + start
        return self._cut(start, rows, self.graph.writers_before_attention(layer))

    def mlp(self, layer: int) -> Cut:
        """A block's MLP."""
        row = self.graph.mlp_reader(layer)
        return self._cut(row, np.array([row]), self.graph.writers_before_mlp(layer))

    def logits(self) -> Cut:
        """The logits reader."""
        row = self.graph.logits_reader
        return self._cut(row, np.array([row]), self.graph.n_writers)

    def _cut(self, first: int, readers: np.ndarray, writers: int) -> Cut:
        """The cut of `readers`, of the group that begins at row `first`; made if it isn't yet."""
        if first not in self.made:
            self.made[first] = self._make(readers, writers)
        return self.made[first]

    def _make(self, readers: np.ndarray, writers: int) -> Cut:
        rows = torch.from_numpy(readers).to(self.mask.device)[:, None]
        before = self.plan.before(writers)
        columns = self.columns[:before]
        mask = self.mask[rows, columns]
        if self.plan.complete:
            return Cut(mask, rows, columns, before, None)
        slots = (mask != 0).any(0).nonzero()[:, 0]
        if len(slots) > GATHER_BELOW * before:
            return Cut(mask, rows, columns, before, None)
        return Cut(mask[:, slots], rows, columns[slots], before, slots)
