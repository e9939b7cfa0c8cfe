"""Values of rows at the tokens of a batch, a chunk of tokens after another.

A chunk is r x n x D numbers in one stretch of memory, so that a product with all of it is one of
whole matrices, which some libraries multiply faster (`ops.product`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ops.slices import slices


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after another; the part itself if there is one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


@dataclass(frozen=True, eq=False)
class Chunks:
    """Each chunk's tokens and values; the chunks follow one another from token 0."""

    parts: tuple[tuple[slice, Float[Tensor, "r _ D"]], ...]

    @classmethod
    def whole(cls, values: Float[Tensor, "r N D"]) -> "Chunks":
        """All in one chunk."""
        return cls(((slice(0, values.shape[1]), values),))

    def __iter__(self) -> Iterator[tuple[slice, Float[Tensor, "r _ D"]]]:
        return iter(self.parts)

    def slices(self, base: Float[Tensor, "N D"], rows: int) -> list[slice]:
        """Of each chunk's tokens, so that `rows` like the base's fit `ops.slices`."""
        return [part for tokens, _ in self for part in slices(base, rows, tokens)]

    def rows(self, rows: slice) -> "Chunks":
        """Some rows of each chunk."""
        return Chunks(tuple((tokens, values[rows]) for tokens, values in self))

    def at(self, tokens: slice) -> Float[Tensor, "r n D"]:
        """At tokens of one chunk."""
        within, values = next(part for part in self if tokens.stop <= part[0].stop)
        return values[:, tokens.start - within.start : tokens.stop - within.start]

    def row(self, row: int) -> Float[Tensor, "N D"]:
        """One row, a view if there is one chunk."""
        return joined([values[row] for _, values in self])

    def put(self, row: int, values: Float[Tensor, "N D"]) -> None:
        """Write one row."""
        for tokens, into in self:
            into[row] = values[tokens]


@dataclass(frozen=True, eq=False)
class Wide(Chunks):
    """Chunks that lie one after another in `memory`."""

    memory: Float[Tensor, "r N D"]

    @classmethod
    def of(cls, memory: Float[Tensor, "r N D"], tokens: Sequence[slice]) -> "Wide":
        """Memory of any values, cut up."""
        rows, width = len(memory), memory.shape[2]
        lines = memory.flatten(0, 1)
        chunks = (lines[rows * part.start : rows * part.stop] for part in tokens)
        shapes = ((rows, part.stop - part.start, width) for part in tokens)
        values = (chunk.view(shape) for chunk, shape in zip(chunks, shapes, strict=True))
        return cls(tuple(zip(tokens, values, strict=True)), memory)

    def __len__(self) -> int:
        """How many rows."""
        return len(self.memory)

    def taken(self, at: Int[Tensor, " n"]) -> Float[Tensor, "r n D"]:
        """A copy at any tokens."""
        found = self.memory.flatten(0, 1).index_select(0, self._lines(at))
        return found.view(len(self), len(at), found.shape[1])

    def set(self, at: Int[Tensor, " n"], values: Float[Tensor, "r n D"]) -> None:
        """Write at any tokens, each once."""
        self.memory.flatten(0, 1).index_copy_(0, self._lines(at), values.flatten(0, 1))

    def _lines(self, at: Int[Tensor, " n"]) -> Int[Tensor, " rn"]:
        """Where they are in memory, which is one line of D numbers after another."""
        starts = at.new_tensor([tokens.start for tokens, _ in self])
        sizes = at.new_tensor([tokens.stop - tokens.start for tokens, _ in self])
        chunk = (at[:, None] >= starts).sum(1) - 1
        start, size = starts[chunk], sizes[chunk]
        rows = torch.arange(len(self), device=at.device)[:, None]
        return (len(self) * start + rows * size + at - start).flatten()
