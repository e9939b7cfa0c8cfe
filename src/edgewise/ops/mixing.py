"""A group of readers' part of the mask, times the differences, in the cheapest way there is.

    x_r += sum_w z_rw delta_w        ddelta_w += sum_r z_rw dx_r        dz_rw = <dx_r, delta_w>

`Dense` multiplies matrices. A group's readers are few rows: such a product is bound by the memory
that goes by, and costs about the same for each writer however many of its entries are zero.
`Sparse` goes by entries, each of which costs a little less than a writer costs `Dense`, and gives
no gradient to those that are zero.
Shapes: R readers, W writers, n tokens, D residual width.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.ops.product import add_product, linear, suits

SPARSE_BELOW = 1.25  # entries for each writer
TOKENS = 8  # of a batch of products
FEW, EVEN = 64, 16  # columns of 16-bit products that oneDNN does well: at most, and a multiple


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums of `dtype` values are kept in: float32, or float64 where the values are."""
    return torch.promote_types(dtype, torch.float32)


def products(dx: Float[Tensor, "R N D"], delta: Float[Tensor, "W N D"]) -> Float[Tensor, "R W"]:
    """<dx_r, delta_w>, in float32.

    In batches of a few tokens, and with the readers last: BLAS takes up to a half less time for
    them than for one long sum, and for few columns than for few rows. Of 16-bit values it copies
    batches, so those are summed at once, and few columns are as good only where they fill vectors.
    """
    rows, columns, kind = dx.flatten(1), delta.flatten(1), accumulator(dx.dtype)
    if suits(columns, rows):
        return linear(columns, rows).t()
    if dx.itemsize < 4:
        if len(rows) < len(columns) and len(rows) <= FEW and not len(rows) % EVEN:
            return (columns @ rows.t()).t().to(kind)
        return (rows @ columns.t()).to(kind)
    whole = dx.shape[1] // TOKENS * TOKENS
    total = (dx[:, whole:].flatten(1) @ delta[:, whole:].flatten(1).t()).to(kind)
    if whole:
        x, d = (
            t[:, :whole].unflatten(1, (-1, TOKENS)).flatten(2).transpose(0, 1) for t in (dx, delta)
        )
        total += torch.bmm(d, x.transpose(1, 2)).sum(0, dtype=kind).t()
    return total


@dataclass(frozen=True, eq=False)
class Dense:
    """A group's entries, multiplied as a matrix."""

    mask: Float[Tensor, "R W"]

    def add(self, x: Float[Tensor, "r n D"], delta: Float[Tensor, "W n D"]) -> None:
        """Add to `x` what the first r readers see of the differences."""
        add_product(self.mask[: len(x)], delta.flatten(1), x.flatten(1))

    def backward(
        self,
        dx: Float[Tensor, "R n D"],
        delta: Float[Tensor, "W n D"],
        ddelta: Float[Tensor, "W n D"],
    ) -> Float[Tensor, "R W"]:
        """Add the gradient of the writers to `ddelta` in place; return that of `mask`, in
        float32."""
        ddelta.flatten(1).addmm_(self.mask.t(), dx.flatten(1))
        return products(dx, delta)


@dataclass(frozen=True, eq=False)
class Sparse(Dense):
    """A group's entries, those that aren't zero one after another."""

    def add(self, x: Float[Tensor, "r n D"], delta: Float[Tensor, "W n D"]) -> None:
        reads, writes = x.unbind(), delta.unbind()
        for writer, reader, z in self._entries:
            if reader < len(reads):
                reads[reader].add_(writes[writer], alpha=z)

    def backward(
        self,
        dx: Float[Tensor, "R n D"],
        delta: Float[Tensor, "W n D"],
        ddelta: Float[Tensor, "W n D"],
    ) -> Float[Tensor, "R W"]:
        dreads, dwrites = dx.unbind(), ddelta.unbind()
        rows, columns = [t.flatten() for t in dreads], [t.flatten() for t in delta]
        dmask = torch.zeros_like(self.mask)
        for writer, reader, z in self._entries:
            dwrites[writer].add_(dreads[reader], alpha=z)
            dmask[reader, writer] = torch.dot(rows[reader], columns[writer])
        return dmask

    @cached_property
    def _entries(self) -> list[tuple[int, int, float]]:
        """Writer, reader and value of each, a writer's together: it stays in cache."""
        writers, readers = self.mask.t().nonzero(as_tuple=True)
        values = self.mask[readers, writers]
        return list(zip(writers.tolist(), readers.tolist(), values.tolist(), strict=True))


def mixing(mask: Float[Tensor, "R W"]) -> Dense:
    """How to multiply a part of a mask whose zeros need no gradient."""
    # Additions one after another would round 16-bit values each time, and keep a GPU waiting.
    if mask.device.type == "cpu" and mask.itemsize >= 4:
        n_open = int(mask.count_nonzero())
        if 0 < n_open < SPARSE_BELOW * mask.shape[1]:
            return Sparse(mask)
    return Dense(mask)


def mix(
    base: Float[Tensor, "N D"], delta: Float[Tensor, "W N D"], mask: Float[Tensor, "R W"]
) -> Float[Tensor, "R N D"]:
    """What every reader sees, before any norm."""
    x = base.repeat(len(mask), 1, 1)
    mixing(mask).add(x, delta)
    return x
