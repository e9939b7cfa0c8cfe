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

from edgewise.ops.read import accumulator, mix, mix_backward, picked, slices
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

    def seen(self, buffer: Float[Tensor, "W N D"]) -> Float[Tensor, "b N D"]:
        """What comes before the group in a buffer: `slots` are places in it."""
        return buffer[: self.before]

    def mix(
        self, base: Float[Tensor, "N D"], delta: Float[Tensor, "W N D"]
    ) -> Float[Tensor, "N D"]:
        """What a group of one reader sees, a slice of tokens at a time."""
        seen = self.seen(delta)
        parts = slices(base, max(1, self.mask.shape[1]))
        return torch.cat(
            [mix(base[part], picked(seen, self.slots, part), self.mask)[0] for part in parts]
        )

    def mix_backward(
        self,
        dx: Float[Tensor, "N D"],
        delta: Float[Tensor, "W N D"],
        ddelta: Float[Tensor, "W N D"],
    ) -> Float[Tensor, "1 w"]:
        """Add the gradient of those writers to `ddelta` in place; return the mask's, in float32."""
        found = self.mask.new_zeros(self.mask.shape, dtype=accumulator(dx.dtype))
        for part in slices(dx, self.mask.shape[1]):
            seen, into = picked(self.seen(delta), self.slots, part), self.seen(ddelta)[:, part]
            found += mix_backward(dx[None, part], seen, self.mask, into, self.slots)
        return found

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
