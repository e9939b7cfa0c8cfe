"""Work on the tokens of a batch a slice at a time, in memory that stays in cache."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

SLICE_BYTES = 4 << 20  # of the wide reader inputs kept at a time

Sliced = Sequence[tuple[slice, Tensor]]  # values of rows, (r, n, D) of one slice after another


def slices(base: Float[Tensor, "N D"], rows: int) -> list[slice]:
    """Cut the tokens so that `rows` of a slice (n x rows x D) fit SLICE_BYTES."""
    n, width = base.shape
    if not rows:
        return []
    step = max(1, SLICE_BYTES // (rows * width * base.element_size()))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


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
