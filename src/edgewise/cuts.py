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

    def take(self, delta: Float[Tensor, "W N D"]) -> Float[Tensor, "w N D"]:
        """These writers' differences."""
        return delta[: self.before] if self.slots is None else delta.index_select(0, self.slots)

    def room(self, ddelta: Float[Tensor, "W N D"]) -> Float[Tensor, "w N D"]:
        """Where to add their gradients: the buffer itself, or zeros that `give` adds to it."""
        if self.slots is None:
            return ddelta[: self.before]
        return ddelta.new_zeros(len(self.slots), *ddelta.shape[1:])

    def give(self, room: Float[Tensor, "w N D"], ddelta: Float[Tensor, "W N D"]) -> None:
        if self.slots is not None:
            ddelta.index_add_(0, self.slots, room)

    def scatter(self, whole: Float[Tensor, "R W"], part: Float[Tensor, "r w"]) -> None:
        """Put a gradient of `mask` where it belongs in the whole mask's."""
        whole[self.rows, self.columns] = part


class Cuts:
    """Cuts a mask by a plan, in the model's dtype."""

    def __init__(self, work: Plan, mask: Float[Tensor, "R W"], dtype: torch.dtype):
        self.plan, self.graph, self.mask = work, work.graph, mask.to(dtype)
        self.columns = torch.from_numpy(np.flatnonzero(work.live)).to(mask.device)

    def attention(self, layer: int) -> Cut:
        """The live queries, keys and values of a block."""
        start = self.graph.attention_readers(layer).start
        rows = self.plan.layers[layer].readers + start
        return self._cut(rows, self.graph.writers_before_attention(layer))

    def mlp(self, layer: int) -> Cut:
        """A block's MLP."""
        return self._cut(
            np.array([self.graph.mlp_reader(layer)]), self.graph.writers_before_mlp(layer)
        )

    def logits(self) -> Cut:
        """The logits reader."""
        return self._cut(np.array([self.graph.logits_reader]), self.graph.n_writers)

    def _cut(self, readers: np.ndarray, writers: int) -> Cut:
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
