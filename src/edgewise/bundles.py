"""Blocks whose readers see what is written before them all in one product.

One block's readers are few rows, and a product of few rows costs the differences that go by
(`ops.mixing`). So those of several blocks a..b go through the differences together, as far as they
see the same writers; what a..b-1 write themselves is added block by block:

    x_r = x~_r + sum_{w before a} z_rw delta_w  +  sum_{w of a, a+1, ... before r} z_rw delta_w

The first sum of all their readers is kept for as long as the blocks take; backward the gradients of
what they read take its place, until the last of them goes to the writers before a, in one product
as well. Room for it is in wide buffers, where rows are of no use meanwhile: forward in the buffer
of gradients, or without one those of writers that have yet to write; backward, in both buffers,
those of writers whose gradients have been used.
Shapes: R readers of all blocks of a bundle, r of one of them; W writers, N tokens, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from jaxtyping import Float
from torch import Tensor

from edgewise.cuts import Cut, Cuts
from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import Sparse
from edgewise.ops.product import put_product

ROWS = 64  # that are enough: more readers gain little

# The memory that is free while so many rows of a wide buffer are in use, for each of its chunks.
Rooms = Callable[[int], Sequence[Sequence[Float[Tensor, "_ n D"]]]]


@dataclass(frozen=True, eq=False)
class Bundle:
    """Blocks `first` to `last`, and the part of the mask that one product takes.

    cut     None of a block alone
    rows    each block's part of its rows
    used    how many rows of a wide buffer the writers up to the last block's take
    """

    first: int
    last: int
    cut: Cut | None = None
    rows: tuple[slice, ...] = ()
    used: int = 0

    def mix(self, delta: Chunks, rooms: Rooms) -> Chunks | None:
        """What all of them see of the writers before the first block, in memory of any values.

        Each of its chunks is in one stretch: BLAS multiplies batches in one call only of those.
        """
        if self.cut is None:
            return None
        count, held = len(self.cut.rows), []
        for (tokens, writes), free in zip(self.cut.seen(delta), rooms(self.used), strict=True):
            into, start = [], 0
            for room, share in zip(free, _shares(count, free), strict=True):
                if share:
                    rows = room.flatten(0, 1)[: count * share].unflatten(0, (count, share))
                    into.append((slice(start, start + share), rows))
                    start += share
            put_product(self.cut.mask, writes, into)
            begin = tokens.start
            held += [(slice(begin + at.start, begin + at.stop), rows) for at, rows in into]
        return Chunks(tuple(held))

    def own(self, cuts: Cuts, block: int) -> Cut:
        """The part of the mask that one of the blocks takes by itself."""
        since = 0 if self.cut is None else cuts.graph.writers_before_attention(self.first)
        return cuts.block(block, since)

    def of(self, held: Chunks | None, block: int) -> Chunks | None:
        """One block's part of that."""
        return None if held is None else held.rows(self.rows[block - self.first])

    def give(
        self,
        held: Chunks | None,
        delta: Chunks,
        ddelta: Chunks,
        dmask: Float[Tensor, "readers writers"],
    ) -> None:
        """Give those writers their gradient, and the mask its, once `held` is all that of reads."""
        if self.cut is not None:
            delta, ddelta = self.cut.seen(delta), self.cut.seen(ddelta)
            back = self.cut.mixing.backward
            self.cut.scatter(dmask, sum(back(x, delta.at(at), ddelta.at(at)) for at, x in held))


def bundles(cuts: Cuts, rooms: Rooms) -> list[Bundle]:
    """Each block's bundle; `rooms` is what there will be to `mix` in."""
    found: list[Bundle] = []
    while len(found) < cuts.graph.n_layers:
        bundle = _ending(cuts, cuts.graph.n_layers - 1 - len(found), rooms)
        found += [bundle] * (bundle.last - bundle.first + 1)
    return found[::-1]


def _ending(cuts: Cuts, last: int, rooms: Rooms) -> Bundle:
    """The largest bundle that ends with a block and pays."""
    graph, first = cuts.graph, last
    used = cuts.plan.before(graph.mlp_writer(last) + 1)
    free = rooms(used)

    def fits(rows: int) -> bool:
        return all(sum(_shares(rows, rooms)) == rooms[0].shape[1] for rooms in free)

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
        if not more or not fits(sum(counts) + more) or seen(last) > 2 * seen(first - 1):
            break
        counts, first = [more, *counts], first - 1
    if first == last:
        return Bundle(first, last)
    ends = accumulate(counts, initial=0)
    parts = tuple(slice(*pair) for pair in pairwise(ends))
    return Bundle(first, last, cuts.together(range(first, last + 1)), parts, used)


def _shares(count: int, rooms: Sequence[Float[Tensor, "_ n D"]]) -> list[int]:
    """How many of a chunk's n tokens each room takes, of `count` rows."""
    shares, tokens = [], rooms[0].shape[1]
    for room in rooms:
        shares.append(min(tokens - sum(shares), len(room) * tokens // count))
    return shares
