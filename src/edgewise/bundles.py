"""Blocks whose readers see what is written before them all in one product.

One block's readers are few rows, and a product of few rows costs the differences that go by
(`ops.mixing`). So those of several blocks a..b go through the differences together, as far as they
see the same writers; what a..b-1 write themselves is added block by block:

    x_r = x~_r + sum_{w before a} z_rw delta_w  +  sum_{w of a, a+1, ... before r} z_rw delta_w

The first sum of all their readers is kept for as long as the blocks take; backward the gradients of
what they read take its place, until the last of them goes to the writers before a, in one product
as well. Room for it is at the end of a wide buffer: rows of writers that have yet to write, and
backward of those whose gradients have been used.
Shapes: R readers of all blocks of a bundle, r of one of them; W writers, N tokens, D width.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.cuts import Cut, Cuts
from edgewise.ops.mixing import Sparse

ROWS = 64  # that are enough: more readers gain little


@dataclass(frozen=True, eq=False)
class Bundle:
    """Blocks `first` to `last`, and the part of the mask that one product takes.

    cut     None of a block alone
    rows    each block's part of its rows
    room    the first row of a wide buffer that none of these blocks needs
    """

    first: int
    last: int
    cut: Cut | None = None
    rows: tuple[slice, ...] = ()
    room: int = 0

    def mix(
        self, delta: Float[Tensor, "W N D"], buffer: Float[Tensor, "W N D"]
    ) -> Float[Tensor, "R N D"] | None:
        """What all of them see of the writers before the first block, in the room of `buffer`."""
        if self.cut is None:
            return None
        held = buffer[self.room :][: len(self.cut.rows)]
        torch.mm(self.cut.mask, self.cut.seen(delta).flatten(1), out=held.flatten(1))
        return held

    def own(self, cuts: Cuts, block: int) -> Cut:
        """The part of the mask that one of the blocks takes by itself."""
        since = 0 if self.cut is None else cuts.graph.writers_before_attention(self.first)
        return cuts.block(block, since)

    def of(self, held: Float[Tensor, "R N D"] | None, block: int) -> Float[Tensor, "r N D"] | None:
        """One block's part of that."""
        return None if held is None else held[self.rows[block - self.first]]

    def give(
        self,
        held: Float[Tensor, "R N D"] | None,
        delta: Float[Tensor, "W N D"],
        ddelta: Float[Tensor, "W N D"],
        dmask: Float[Tensor, "readers writers"],
    ) -> None:
        """Give those writers their gradient, and the mask its, once `held` is all that of reads."""
        if self.cut is not None:
            dpart = self.cut.mixing.backward(held, self.cut.seen(delta), self.cut.seen(ddelta))
            self.cut.scatter(dmask, dpart)


def bundles(cuts: Cuts, rows: int) -> list[Bundle]:
    """Each block's bundle, for wide buffers of so many rows."""
    found: list[Bundle] = []
    while len(found) < cuts.graph.n_layers:
        bundle = _ending(cuts, cuts.graph.n_layers - 1 - len(found), rows)
        found += [bundle] * (bundle.last - bundle.first + 1)
    return found[::-1]


def _ending(cuts: Cuts, last: int, rows: int) -> Bundle:
    """The largest bundle that ends with a block and pays."""
    graph, first = cuts.graph, last
    room = cuts.plan.before(graph.mlp_writer(last) + 1)

    def seen(block: int) -> int:
        return cuts.plan.before(graph.writers_before_attention(block))

    def many(block: int) -> int:
        """Readers of a block that go by matrices."""
        cut = cuts.block(block)
        return 0 if isinstance(cut.mixing, Sparse) else len(cut.rows)

    counts = [many(last)]
    while first and counts[0] and sum(counts) < ROWS:
        more = many(first - 1)
        # Another block has all of them take its writes block by block, as if each were alone.
        if not more or sum(counts) + more > rows - room or seen(last) > 2 * seen(first - 1):
            break
        counts, first = [more, *counts], first - 1
    if first == last:
        return Bundle(first, last)
    ends = accumulate(counts, initial=0)
    parts = tuple(slice(*pair) for pair in pairwise(ends))
    return Bundle(first, last, cuts.together(range(first, last + 1)), parts, room)
