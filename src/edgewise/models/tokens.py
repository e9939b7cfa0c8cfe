"""Packed tokens: only what isn't padding is computed.

Everything but attention works token by token, so streams hold the N kept tokens of a batch in one
row each; attention sees them laid out as (B, T) with zeros where padding was. A token that is the
same in two prompts, and so is all before it, need be kept once: both show it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tokens:
    """Where the N kept tokens of a (B, T) batch are in it when it is flat (None: all are kept).

    shown    which kept token is at each place of the flat batch, any at a pad (None: each is at its
             own place alone)
    """

    batch: int
    length: int
    keep: Int[Tensor, " N"] | None
    shown: Int[Tensor, " F"] | None = None

    @classmethod
    def of(cls, shape: tuple[int, int], attention_mask: Bool[Tensor, "B T"] | None) -> "Tokens":
        if attention_mask is None or bool(attention_mask.all()):
            return cls(*shape, None)
        return cls(*shape, attention_mask.flatten().nonzero()[:, 0])

    @property
    def count(self) -> int:
        """N."""
        return self.batch * self.length if self.keep is None else self.keep.numel()

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T, ...) to (N, ...)."""
        flat = padded.flatten(0, 1)
        return flat if self.keep is None else flat[self.keep]

    def unpack(self, packed: Tensor) -> Tensor:
        """(N, ...) to (B, T, ...), zeros where padding was."""
        if self.shown is not None:
            packed = packed[self.shown]
        elif self.keep is not None:
            flat = packed.new_zeros(self.batch * self.length, *packed.shape[1:])
            packed = flat.index_copy(0, self.keep, packed)
        return packed.unflatten(0, (self.batch, self.length))

    def alike(self, parted: Int[Tensor, " n"]) -> tuple["Tokens", Int[Tensor, " m"]]:
        """Of a batch's two halves, the second's tokens but `parted` shown by the first's.

        Also which of this batch's packed tokens are kept: the first half's and those.
        """
        half = self.count // 2
        kept = torch.cat([torch.arange(half, device=parted.device), half + parted])
        shown = torch.arange(half, device=parted.device).repeat(2)
        shown[kept] = torch.arange(len(kept), device=parted.device)
        if self.keep is None:
            return Tokens(self.batch, self.length, kept, shown), kept
        places = shown.new_zeros(self.batch * self.length).index_copy_(0, self.keep, shown)
        return Tokens(self.batch, self.length, self.keep[kept], places), kept

    def index(self, rows: Int[Tensor, " A"], cols: Int[Tensor, " A"]) -> Int[Tensor, " A"]:
        """Packed positions of tokens given by prompt and column."""
        flat = rows * self.length + cols
        if self.keep is None:
            return flat
        where = torch.full((self.batch * self.length,), -1, device=flat.device)
        where[self.keep] = torch.arange(self.count, device=flat.device)
        index = where[flat]
        assert bool((index >= 0).all()), "a prediction is read at a padded position"
        return index
