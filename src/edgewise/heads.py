"""A block's live heads in a masked run: from what each of its readers saw to what they write.

Where readers are dead, and at tokens that see the same as in the ablated run, that run's queries,
keys and values stand in for theirs. Of the last block nothing is needed but what it writes at the
tokens `at`.
Shapes: R, H readers and heads of the block, r, h the live ones; N tokens of a batch, n of them
computed, m needed of what the block writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ablation import LayerState, taken
from edgewise.cuts import Cut
from edgewise.models.block import Block
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.ops.chunks import Chunks, joined
from edgewise.ops.read import read, read_backward
from edgewise.plan import LayerPlan


def among(
    other: Float[Tensor, "R N C"] | None,
    qkv: Float[Tensor, "r n C"],
    rows: Int[np.ndarray, " r"] | None,
    own: Int[Tensor, " n"] | None,
) -> Float[Tensor, "R N C"]:
    """Queries, keys and values of some readers at some tokens, all else as in another run.

    Where `rows` and `own` are None, of all readers and all tokens, no other run is needed.
    """
    if rows is None:
        return qkv if own is None else other.index_copy(1, own, qkv)
    place = torch.from_numpy(rows).to(qkv.device)
    if own is None:
        return other.index_copy(0, place, qkv)
    return other.index_put((place[:, None], own), qkv)


@dataclass(frozen=True, eq=False)
class Readers:
    """Some of a block's queries, keys and values, which read at the same tokens.

    rows       their numbers among its R (None: all)
    own        the tokens whose reads are computed (None: all)
    """

    block: Block
    rows: Int[np.ndarray, " r"] | None
    own: Int[Tensor, " n"] | None

    def read(
        self,
        base: Float[Tensor, "n D"],
        cut: Cut,
        delta: Chunks,
        others: Sequence[Float[Tensor, "n D"]] = (),
        held: Chunks | None = None,
    ) -> tuple["Reads", Float[Tensor, "M n D"]]:
        """What they see through `cut`, and what `others` see, its last rows (`ops.read`)."""
        block = self.block
        offsets = block.offsets(self.rows)  # whose making takes memory: before there are weights
        weight = block.folded(self.rows)
        found = read(block.centre(base), cut.seen(delta), cut.mixing, weight, others, held)
        return Reads(self, found.p, found.square, offsets), found.whole

    def read_backward(
        self,
        base: Float[Tensor, "n D"],
        cut: Cut,
        delta: Chunks,
        grads: tuple[Float[Tensor, "r n C"], Float[Tensor, "r n"]],
        ddelta: Chunks,
        dwhole: Sequence[Float[Tensor, "n D"]] = (),
        held: Chunks | None = None,
    ) -> Float[Tensor, "all w"]:
        """Add the writers' gradient to `ddelta` in place; return that of all the cut's entries."""
        base, weight = self.block.centre(base), self.block.folded(self.rows)
        delta, ddelta = cut.seen(delta), cut.seen(ddelta)
        return read_backward(base, delta, cut.mixing, weight, *grads, ddelta, dwhole, held)


@dataclass(frozen=True, eq=False)
class Reads:
    """What readers saw: projections, mean squares, and what they add to the projections."""

    readers: Readers
    p: Float[Tensor, "r n C"]
    square: Float[Tensor, "r n"]
    offsets: Float[Tensor, "r C"]

    def detached(self) -> "Reads":
        """The same as leaves of a graph."""
        p, square = (t.detach().requires_grad_() for t in (self.p, self.square))
        return replace(self, p=p, square=square)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of a block that a plan leaves alive, in one run of its attention.

    readers    theirs, together or in parts
    at         the tokens at which what the heads write is needed (None: all)
    """

    block: Block
    live: LayerPlan
    call: Call
    tokens: Tokens
    readers: tuple[Readers, ...]
    at: Int[Tensor, " m"] | None

    def put_out(
        self, other: Float[Tensor, "R N C"] | None, reads: Sequence[Reads]
    ) -> tuple[Float[Tensor, "h m C"], Float[Tensor, " m"] | float]:
        """What they put out before W_O, times a post-norm's scale, and that (`Block.scaled`).

        other    the ablated run's queries, keys and values; None only where none are needed
        """
        block, qkv = self.block, other
        if other is None and len(reads) > 1:  # queries elsewhere than `at`, which nobody needs
            qkv = reads[0].p.new_zeros(block.n_readers, self.tokens.count, block.head_dim)
        for each in reads:
            found = block.project(each.p, each.square, each.offsets)
            qkv = among(qkv, found, each.readers.rows, each.readers.own)
        o, r = block.scaled(taken(block.attend(qkv, self.call, self.tokens), self.at))
        return self._of(o.transpose(0, 1)), r

    def put_out_backward(
        self,
        other: Float[Tensor, "R N C"] | None,
        reads: Sequence[Reads],
        dwrites: Chunks,
    ) -> list[tuple[Float[Tensor, "r n C"], Float[Tensor, "r n"]]]:
        """Gradients of `p` and `square` of each from that of what the heads write."""
        reads = [each.detached() for each in reads]
        inputs = [t for each in reads for t in (each.p, each.square)]
        with torch.enable_grad():
            o, r = self.put_out(other, reads)
        weight, bias = self.block.head_weights(self._chosen), self.block.head_bias
        back = [torch.bmm(each, weight.transpose(1, 2)) for _, each in dwrites]
        outputs, grads = [o], [joined(back, 1)]
        if isinstance(r, Tensor) and bias is not None:
            along = [each.sum(0) @ bias for _, each in dwrites]
            outputs, grads = [o, r], [*grads, joined(along)]
        found = torch.autograd.grad(outputs, inputs, grads, allow_unused=True)
        grads = [
            torch.zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True)
        ]
        return list(zip(grads[::2], grads[1::2], strict=True))

    def write(
        self,
        o: Float[Tensor, "h m C"],
        r: Float[Tensor, " m"] | float,
        ablated: LayerState,
        out: Chunks,
    ) -> None:
        """Put what they write, less what they wrote in the ablated run, into `out`."""
        self.block.writes(
            o - self._of(taken(ablated.heads, self.at).transpose(0, 1)),
            r - taken(ablated.scale, self.at),
            self._chosen,
            out,
        )

    @cached_property
    def _chosen(self) -> Int[Tensor, " h"] | None:
        """The live heads, or None when that is all of them."""
        if len(self.live.heads) == self.block.n_heads:
            return None
        return torch.from_numpy(self.live.heads).to(self.block.out.weight.device)

    def _of(self, whole: Float[Tensor, "H ..."]) -> Float[Tensor, "h ..."]:
        return taken(whole, self._chosen)
