"""The parts of a mask that a masked run really uses.

Each group of readers (the heads of a block, its MLP, the logits) applies a few rows of the mask to
the writers before it. Of a plan that leaves things out, only live rows and columns are cut, and
where many entries are zero, those that aren't are all that is mixed (`ops.mixing`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import Dense, mixing
from edgewise.plan import Plan


@dataclass(frozen=True, eq=False)
class Cut:
    """One group's part of the mask.

    rows       the readers, as rows of the whole mask
    columns    the writers, as columns of the whole mask
    span       the live writers that it may see, in a difference buffer
    mixing     its entries, and how they are multiplied with those writers
    """

    rows: Int[Tensor, "r 1"]
    columns: Int[Tensor, " w"]
    span: slice
    mixing: Dense

    @property
    def mask(self) -> Float[Tensor, "r w"]:
        """Its entries."""
        return self.mixing.mask

    def seen(self, buffer: Chunks) -> Chunks:
        """The part of a buffer of all live writers that is mixed."""
        return buffer.rows(self.span)

    def mix(self, base: Float[Tensor, "N D"], delta: Chunks) -> Float[Tensor, "N D"]:
        """What a group of one reader sees."""
        read = base.clone()
        for tokens, writes in self.seen(delta):
            self.mixing.add(read[None, tokens], writes)
        return read

    def mix_backward(
        self, dx: Float[Tensor, "N D"], delta: Chunks, ddelta: Chunks
    ) -> Float[Tensor, "1 w"]:
        """Add the gradient of those writers to `ddelta` in place; return the mask's, in float32."""
        pairs = zip(self.seen(delta), self.seen(ddelta), strict=True)
        return sum(
            self.mixing.backward(dx[None, tokens], writes, dwrites)
            for (tokens, writes), (_, dwrites) in pairs
        )

    def scatter(self, whole: Float[Tensor, "R W"], part: Float[Tensor, "r w"]) -> None:
        """Put a gradient of `mask` where it belongs in the whole mask's."""
        whole[self.rows, self.columns] = part


class Cuts:
    """Cuts a mask by a plan, in the model's dtype; each cut but `together`'s is made once, for both
    passes.

    narrow    the logits are read at some tokens alone, and so the last block's queries and MLP read
              there alone too
    """

    def __init__(
        self, work: Plan, mask: Float[Tensor, "R W"], dtype: torch.dtype, narrow: bool = False
    ):
        self.plan, self.graph, self.mask = work, work.graph, mask.to(dtype)
        self.late = work.graph.n_layers - 1 if narrow else None
        self.columns = torch.from_numpy(np.flatnonzero(work.live)).to(mask.device)
        self.readers = [self._block(layer) for layer in range(work.graph.n_layers)]
        self.made: dict[tuple[int, ...], Cut] = {}

    def block(self, layer: int, since: int = 0) -> Cut:
        """The live queries, keys and values of a block, then its MLP if that is live, and what is
        written before the block, by writers from `since` on; those that read at all tokens."""
        return self._before(layer, self.readers[layer], since)

    def together(self, layers: range) -> Cut:
        """The same readers of several blocks, and what is written before the first."""
        rows = np.concatenate([self.readers[layer] for layer in layers])
        end = self.graph.writers_before_attention(layers[0])
        return self._make(self._indices(rows), slice(0, self.plan.before(end)), Dense)

    def own(self, layer: int) -> Cut:
        """A block's MLP, and what `block` doesn't have of what it sees: the block's heads, none
        where blocks are parallel; all that is written before it, where it reads apart."""
        first = 0 if layer == self.late else self.graph.writers_before_attention(layer)
        return self._cut(self._mlp(layer), first, self.graph.writers_before_mlp(layer))

    def attention(self, layer: int) -> Cut:
        """The live queries, keys and values of a block."""
        return self._before(layer, self._rows(layer, self.plan.layers[layer].readers))

    def queries(self, layer: int) -> Cut:
        """The live queries of a block."""
        queries, _ = self.plan.layers[layer].parted(self.graph.n_heads)
        return self._before(layer, self._rows(layer, queries))

    def mlp(self, layer: int) -> Cut:
        """A block's MLP, and all that is written before it."""
        return self._cut(self._mlp(layer), 0, self.graph.writers_before_mlp(layer))

    def logits(self) -> Cut:
        """The logits reader."""
        return self._cut(np.array([self.graph.logits_reader]), 0, self.graph.n_writers)

    def _before(self, layer: int, rows: Int[np.ndarray, " r"], since: int = 0) -> Cut:
        """Some of a block's readers, and what is written before the block."""
        return self._cut(rows, since, self.graph.writers_before_attention(layer))

    def _block(self, layer: int) -> Int[np.ndarray, " r"]:
        live = self.plan.layers[layer]
        if layer == self.late:
            return self._rows(layer, live.parted(self.graph.n_heads)[1])
        rows = self._rows(layer, live.readers)
        return np.append(rows, self._mlp(layer)) if live.mlp else rows

    def _rows(self, layer: int, readers: Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
        return readers + self.graph.attention_readers(layer).start

    def _mlp(self, layer: int) -> Int[np.ndarray, " 1"]:
        return np.array([self.graph.mlp_reader(layer)])

    def _cut(self, rows: Int[np.ndarray, " r"], first: int, end: int) -> Cut:
        """The part of `rows` and the writers from `first` to `end`; made if it isn't yet."""
        key = (first, end, *rows.tolist())
        if key not in self.made:
            span = slice(self.plan.before(first), self.plan.before(end))
            how = Dense if self.plan.complete else mixing
            self.made[key] = self._make(self._indices(rows), span, how)
        return self.made[key]

    def _make(self, rows: Int[Tensor, "r 1"], span: slice, how: Callable[[Tensor], Dense]) -> Cut:
        columns = self.columns[span]
        return Cut(rows, columns, span, how(self.mask[rows, columns]))

    def _indices(self, rows: Int[np.ndarray, " r"]) -> Int[Tensor, "r 1"]:
        return torch.from_numpy(rows).to(self.mask.device)[:, None]
