"""Work on the tokens of a batch a slice at a time, in memory that stays in cache."""

import math

from jaxtyping import Float
from torch import Tensor

SLICE_BYTES = 4 << 20  # of the wide reader inputs kept at a time


def slices(base: Float[Tensor, "N D"], rows: int, tokens: slice | None = None) -> list[slice]:
    """Cut tokens (None: all) alike, so that `rows` of a slice (n x rows x D) fit SLICE_BYTES."""
    start, stop = (0, len(base)) if tokens is None else (tokens.start, tokens.stop)
    if not rows or start == stop:
        return []
    most = max(1, SLICE_BYTES // (rows * base.shape[1] * base.element_size()))
    step = even(stop - start, most)
    return [slice(i, min(i + step, stop)) for i in range(start, stop, step)]


def even(tokens: int, most: int) -> int:
    """How many to take at a time: in all slices alike, as far as that goes."""
    return math.ceil(tokens / math.ceil(tokens / most))


class Room:
    """Memory for one slice after another: a CPU's fresh pages cost more than filling them."""

    def __init__(self, base: Float[Tensor, "N D"]):
        self.memory = base.new_empty(0, base.shape[1])

    def take(self, rows: int, part: slice) -> Float[Tensor, "r n D"]:
        """Any values; what was taken before is overwritten."""
        tokens = part.stop - part.start
        if len(self.memory) < rows * tokens:
            self.memory = self.memory.new_empty(rows * tokens, self.memory.shape[1])
        return self.memory[: rows * tokens].unflatten(0, (rows, tokens))
