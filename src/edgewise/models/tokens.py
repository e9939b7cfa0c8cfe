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
        return flat if self.keep is None else flat.index_select(0, self.keep)

    def unpack(self, packed: Tensor) -> Tensor:
        """(N, ...) to (B, T, ...), zeros where padding was."""
        if self.shown is not None:
            packed = packed.index_select(0, self.shown)
        elif self.keep is not None:
            flat = packed.new_zeros(self.batch * self.length, *packed.shape[1:])
            packed = flat.index_copy_(0, self.keep, packed)
        return packed.unflatten(0, (self.batch, self.length))

    def distinct(
        self, ids: Int[Tensor, "B T"]
    ) -> tuple["Tokens", Int[Tensor, " n"], Int[Tensor, " N"]]:
        """The batch with each token kept once that is the same in several prompts, and so is all
        before it; which of the packed tokens those are, and which of them each packed token is."""
        device, number, total = ids.device, [], 0
        flat = torch.full((self.batch * self.length,), -1, device=device)
        places = torch.arange(len(flat), device=device) if self.keep is None else self.keep
        flat[places] = ids.flatten()[places]
        prefix, base = torch.zeros(self.batch, dtype=torch.long, device=device), int(ids.max()) + 2
        for column in flat.view(self.batch, self.length).unbind(1):
            prefix = (prefix * base + column + 1).unique(return_inverse=True)[1]
            number.append(prefix + total)
            total += int(prefix.max()) + 1
        found, shown = self.pack(torch.stack(number, 1)).unique(return_inverse=True)
        kept = shown.new_full((len(found),), self.count)
        kept.scatter_reduce_(0, shown, torch.arange(self.count, device=device), "amin")
        whole = torch.zeros_like(flat).index_copy_(0, places, shown)
        return Tokens(self.batch, self.length, places[kept], whole), kept, shown

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
