"""A block's live heads in a masked run: from what each of its readers saw to what they write.

Where readers are dead, and at tokens that see the same as in the ablated run, that run's queries,
keys and values stand in for theirs. Of the last block nothing is needed but what it writes at the
tokens `at`.
Shapes: R, H readers and heads of the block, r, h the live ones; N tokens of a batch, n of them
computed, m needed of what the block writes.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from edgewise.ablation import LayerState, taken
from edgewise.models.block import Block
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.ops.chunks import Chunks, joined
from edgewise.plan import LayerPlan


def live_rows(live: LayerPlan, rows: int, device: torch.device) -> Bool[Tensor, " R"]:
    """Which of a block's `rows` queries, keys and values are live."""
    found = torch.zeros(rows, dtype=torch.bool)
    found[torch.from_numpy(live.readers)] = True
    return found.to(device)


def among(
    other: Float[Tensor, "R N C"] | None,
    qkv: Float[Tensor, "r n C"],
    rows: Bool[Tensor, " R"] | None,
    own: Int[Tensor, " n"] | None,
) -> Float[Tensor, "R N C"]:
    """Queries, keys and values of some readers at some tokens, all else as in another run.

    Where `rows` and `own` are None, of all readers and all tokens, no other run is needed.
    """
    if own is None:
        return qkv if rows is None else other.index_put((rows,), qkv)
    if rows is None:
        return other.index_copy(1, own, qkv)
    return other.index_put((rows.nonzero(), own), qkv)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of a block that a plan leaves alive, in one run of its attention.

    own    the tokens whose reads are computed (None: all)
    at     those at which what the heads write is needed
    """

    block: Block
    live: LayerPlan
    call: Call
    tokens: Tokens
    own: Int[Tensor, " n"] | None
    at: Int[Tensor, " m"] | None

    @cached_property
    def rows(self) -> Bool[Tensor, " R"] | None:
        """Live queries, keys and values, or None when that is all of them."""
        count = self.block.n_readers
        if len(self.live.readers) == count:
            return None
        return live_rows(self.live, count, self.block.out.weight.device)

    @property
    def weight(self) -> Float[Tensor, "r C D"]:
        """Projections of the live readers, with the norm's gain."""
        return self.block.folded(self.rows)

    @property
    def offsets(self) -> Float[Tensor, "r C"]:
        """What live readers add to their projections."""
        return self.block.offsets(self.rows)

    def put_out(
        self,
        other: Float[Tensor, "R N C"] | None,
        p: Float[Tensor, "r n C"],
        square: Float[Tensor, "r n"],
        offsets: Float[Tensor, "r C"],
    ) -> tuple[Float[Tensor, "h m C"], Float[Tensor, " m"] | None]:
        """What they put out before W_O, times a post-norm's scale, and that scale if any.

        other    the ablated run's queries, keys and values; None only where none are needed
        """
        block = self.block
        qkv = among(other, block.project(p, square, offsets), self.rows, self.own)
        o = taken(block.attend(qkv, self.call, self.tokens), self.at)
        r = block.post_scale(o)
        if r is not None:
            o = o * r[:, None, None]
        return self._of(o.transpose(0, 1)), r

    def put_out_backward(
        self,
        other: Float[Tensor, "R N C"] | None,
        p: Float[Tensor, "r n C"],
        square: Float[Tensor, "r n"],
        offsets: Float[Tensor, "r C"],
        dwrites: Chunks,
    ) -> tuple[Float[Tensor, "r n C"], Float[Tensor, "r n"]]:
        """Gradients of `p` and `square` from that of what the heads write."""
        inputs = [t.detach().requires_grad_() for t in (p, square)]
        with torch.enable_grad():
            o, r = self.put_out(other, *inputs, offsets)
        weight, bias = self.block.head_weights(self._chosen), self.block.head_bias
        back = [torch.bmm(each, weight.transpose(1, 2)) for _, each in dwrites]
        outputs, grads = [o], [joined(back, 1)]
        if r is not None and bias is not None:
            along = [each.sum(0) @ bias for _, each in dwrites]
            outputs, grads = [o, r], [*grads, joined(along)]
        found = torch.autograd.grad(outputs, inputs, grads, allow_unused=True)
        dp, dsquare = (
            torch.zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True)
        )
        return dp, dsquare

    def write(
        self,
        o: Float[Tensor, "h m C"],
        r: Float[Tensor, " m"] | None,
        ablated: LayerState,
        out: Chunks,
    ) -> None:
        """Put what they write, less what they wrote in the ablated run, into `out`."""
        scale = ablated.scale
        if isinstance(scale, Tensor):
            scale = taken(scale, self.at)
        self.block.writes(
            o - self._of(taken(ablated.heads, self.at).transpose(0, 1)),
            (1.0 if r is None else r) - scale,
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
