"""A block's live heads in a masked run: from what each of its readers saw to what they write.

Where readers are dead, the ablated run's queries, keys and values stand in for theirs. Of the last
block nothing is needed but what it writes at the tokens `at`.
Shapes: R, H readers and heads of the block, r, h the live ones; n tokens of `at`, or all N.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from edgewise.ablation import LayerState
from edgewise.models.block import Block
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.plan import LayerPlan

At = Int[Tensor, " n"] | None


def taken(t: Float[Tensor, "N ..."], at: At) -> Float[Tensor, "n ..."]:
    """`t` at some tokens (None: all)."""
    return t if at is None else t[at]


def live_rows(live: LayerPlan, rows: int, device: torch.device) -> Bool[Tensor, " R"]:
    """Which of a block's `rows` queries, keys and values are live."""
    found = torch.zeros(rows, dtype=torch.bool)
    found[torch.from_numpy(live.readers)] = True
    return found.to(device)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of a block that a plan leaves alive, in one run of its attention."""

    block: Block
    live: LayerPlan
    call: Call
    tokens: Tokens
    at: At

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

    def put_out(
        self,
        other: Float[Tensor, "R N C"] | None,
        p: Float[Tensor, "r N C"],
        square: Float[Tensor, "r N"],
    ) -> tuple[Float[Tensor, "h n C"], Float[Tensor, " n"] | None]:
        """What they put out before W_O, times a post-norm's scale, and that scale if any.

        other    the ablated run's queries, keys and values, where some readers are dead
        """
        block, rows = self.block, self.rows
        qkv = block.project(p, square, rows)
        if rows is not None:
            assert other is not None
            qkv = other.index_put((rows,), qkv)
        o = taken(block.attend(qkv, self.call, self.tokens), self.at)
        r = block.post_scale(o)
        if r is not None:
            o = o * r[:, None, None]
        return self._of(o.transpose(0, 1)), r

    def put_out_backward(
        self,
        other: Float[Tensor, "R N C"] | None,
        p: Float[Tensor, "r N C"],
        square: Float[Tensor, "r N"],
        dwrites: Float[Tensor, "h n D"],
    ) -> tuple[Float[Tensor, "r N C"], Float[Tensor, "r N"]]:
        """Gradients of `p` and `square` from that of what the heads write."""
        inputs = [t.detach().requires_grad_() for t in (p, square)]
        with torch.enable_grad():
            o, r = self.put_out(other, *inputs)
        weight, bias = self._of(self.block.out_weight), self.block.out_bias
        outputs, grads = [o], [torch.bmm(dwrites, weight.transpose(1, 2))]
        if r is not None and bias is not None:
            outputs, grads = [o, r], [*grads, dwrites.sum(0) @ bias]
        found = torch.autograd.grad(outputs, inputs, grads, allow_unused=True)
        dp, dsquare = (
            torch.zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True)
        )
        return dp, dsquare

    def write(
        self,
        o: Float[Tensor, "h n C"],
        r: Float[Tensor, " n"] | None,
        ablated: LayerState,
        out: Float[Tensor, "h n D"],
    ) -> None:
        """Put what they write, less what they wrote in the ablated run, into `out`."""
        scale = ablated.scale
        if isinstance(scale, Tensor):
            scale = taken(scale, self.at)
        self.block.writes(
            o - self._of(taken(ablated.heads, self.at).transpose(0, 1)),
            (1.0 if r is None else r) - scale,
            self._chosen,
            out=out,
        )

    @cached_property
    def _chosen(self) -> Int[Tensor, " h"] | None:
        """The live heads, or None when that is all of them."""
        if len(self.live.heads) == self.block.n_heads:
            return None
        return torch.from_numpy(self.live.heads).to(self.block.out.weight.device)

    def _of(self, whole: Float[Tensor, "H ..."]) -> Float[Tensor, "h ..."]:
        chosen = self._chosen
        return whole if chosen is None else whole[chosen]
