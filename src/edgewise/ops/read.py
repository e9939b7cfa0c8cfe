"""The masked read: what each reader sees, projected into its own channels, and its gradient.

With the differences delta_w = x_w - x~_w that the writers put in the residual stream, reader r sees

    x_r = base + sum_w z_rw delta_w                                               (1)

and only ever uses x_r through its norm and its projection, norm(x_r) @ weight_r. A norm divides by
a scale, after a LayerNorm has taken the mean off; so with c_r = x_r - mean(x_r) under a LayerNorm
and c_r = x_r under an RMSNorm, two small things per token and reader are enough:

    p_r = c_r @ weight_r^T        square_r = mean(c_r^2)

The wide c_r (N x R x D) is built in slices of tokens that stay in cache, never kept, and built
again in the backward pass. An MLP's read of the same writers goes along, and is returned whole.
Given the gradients of the two outputs,

    dx_r = dp_r @ weight_r + 2 dsquare_r c_r / D
    dz_rw = sum_n <dx_r, delta_w>            ddelta_w = sum_r z_rw dx_r

where the rows of weight_r must sum to 0 under a LayerNorm: then dx_r does too, and taking the mean
off needs no step of its own.

`read_reference` says the same in the plainest way and defines the fast path.
Shapes: N tokens, R readers, W writers, C channels of a head, D residual width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

SLICE_BYTES = 4 << 20  # of the wide reader inputs kept at a time
TOKENS = 8  # of a batch of products


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums of `dtype` values are kept in: float32, or float64 where the values are."""
    return torch.promote_types(dtype, torch.float32)


def mix(
    base: Float[Tensor, "N D"], delta: Float[Tensor, "W N D"], mask: Float[Tensor, "R W"]
) -> Float[Tensor, "R N D"]:
    """Equation (1) for every reader: reads before any norm."""
    mixed = torch.addmm(base.reshape(1, -1), mask, delta.flatten(1))
    return mixed.unflatten(1, base.shape)


def mix_backward(
    dx: Float[Tensor, "R N D"],
    delta: Float[Tensor, "w N D"],
    mask: Float[Tensor, "R w"],
    ddelta: Float[Tensor, "W N D"],
    slots: Int[Tensor, " w"] | None = None,
) -> Float[Tensor, "R w"]:
    """Add the gradient of the writers to `ddelta` in place; return the mask's, in float32.

    slots    of those writers in `ddelta` (None: all)
    """
    wide = dx.flatten(1)
    if slots is None:
        ddelta.flatten(1).addmm_(mask.t(), wide)
    else:
        theirs = ddelta[slots]
        theirs.flatten(1).addmm_(mask.t(), wide)
        ddelta[slots] = theirs
    return products(dx, delta)


def products(dx: Float[Tensor, "R N D"], delta: Float[Tensor, "W N D"]) -> Float[Tensor, "R W"]:
    """<dx_r, delta_w>, in float32.

    In batches of a few tokens, and with the readers last: BLAS takes up to a half less time for
    them than for one long sum, and for few columns than for few rows. Of 16-bit values it copies
    batches, so those are summed at once.
    """
    kind, whole = accumulator(dx.dtype), dx.shape[1] // TOKENS * TOKENS
    if dx.dtype.itemsize < 4:
        whole = 0
    total = (dx[:, whole:].flatten(1) @ delta[:, whole:].flatten(1).t()).to(kind)
    if whole:
        x, d = (
            t[:, :whole].unflatten(1, (-1, TOKENS)).flatten(2).transpose(0, 1) for t in (dx, delta)
        )
        total += torch.bmm(d, x.transpose(1, 2)).sum(0, dtype=kind).t()
    return total


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


def picked(
    delta: Float[Tensor, "W N D"], slots: Int[Tensor, " w"] | None, part: slice
) -> Float[Tensor, "w n D"]:
    """Some writers' differences (None: all) at some tokens."""
    return delta[:, part] if slots is None else delta[:, part].index_select(0, slots)


class Read(NamedTuple):
    """What `read` found: p, square and, under a LayerNorm, the means that the reads had; `whole`
    is what those who take theirs whole saw."""

    p: Float[Tensor, "R N C"]
    square: Float[Tensor, "R N"]
    mean: Float[Tensor, "R N"] | None
    whole: Float[Tensor, "M N D"]


def read(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "r w"],
    weight: Float[Tensor, "R C D"],
    centred: bool,
    slots: Int[Tensor, " w"] | None = None,
    others: Sequence[Float[Tensor, "N D"]] = (),
) -> Read:
    """The reads of a group of readers, a slice of tokens at a time.

    slots    of the writers in `delta` that the columns of `mask` are for (None: of all)
    others   bases of M further readers, the last rows of `mask`, which take their reads whole
    """
    n, readers = base.shape[0], len(weight)
    p = base.new_empty(readers, n, weight.shape[1])
    square = base.new_empty(readers, n, dtype=accumulator(base.dtype))
    mean = torch.empty_like(square) if centred else None
    whole = base.new_empty(len(others), *base.shape)
    room = Room(base)
    for part in slices(base, _height(mask, slots)):
        mixed = room.take(len(mask), part)
        mixed[:readers] = base[part]
        for row, other in enumerate(others, start=readers):
            mixed[row] = other[part]
        mixed.flatten(1).addmm_(mask, picked(delta, slots, part).flatten(1))
        x, whole[:, part] = mixed[:readers], mixed[readers:]
        if mean is not None:
            mean[:, part] = x.mean(-1, dtype=mean.dtype)
            x -= mean[:, part, None].to(x.dtype)
        p[:, part] = torch.bmm(x, weight.transpose(1, 2))
        norm = torch.linalg.vector_norm(x, dim=-1, dtype=square.dtype)
        square[:, part] = norm.square() / x.shape[-1]
    return Read(p, square, mean, whole)


def read_backward(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "r w"],
    weight: Float[Tensor, "R C D"],
    mean: Float[Tensor, "R N"] | None,
    dp: Float[Tensor, "R N C"],
    dsquare: Float[Tensor, "R N"],
    ddelta: Float[Tensor, "W N D"],
    slots: Int[Tensor, " w"] | None = None,
    dwhole: Sequence[Float[Tensor, "N D"]] = (),
) -> Float[Tensor, "r w"]:
    """Add the writers' gradient to `ddelta` in place; return the mask's, accumulated in float32.

    mean     of the reads, as `read` returned it; then the rows of `weight` must sum to 0
    slots    as in `read`
    dwhole   gradients of what its `others` saw
    """
    readers = len(weight)
    dmask = mask.new_zeros(mask.shape, dtype=accumulator(base.dtype))
    slope = (2.0 / base.shape[1]) * dsquare
    offset = None if mean is None else (-slope * mean).to(base.dtype)[..., None]
    slope = slope.to(base.dtype)[..., None]
    room = Room(base)
    for part in slices(base, _height(mask, slots)):
        seen, grads = picked(delta, slots, part), room.take(len(mask), part)
        dx = grads[:readers]
        dx[:] = base[part]
        dx.flatten(1).addmm_(mask[:readers], seen.flatten(1))
        dx *= slope[:, part]
        if offset is not None:
            dx += offset[:, part]
        dx.baddbmm_(dp[:, part], weight)
        for row, other in enumerate(dwhole, start=readers):
            grads[row] = other[part]
        dmask += mix_backward(grads, seen, mask, ddelta[:, part], slots)
    return dmask


def read_reference(base, delta, mask, weight, centred):
    """What `read` computes, as written in the module's text."""
    x = base[None] + torch.einsum("rw,wnd->rnd", mask, delta)
    mean = x.mean(-1) if centred else None
    c = x if mean is None else x - mean[..., None]
    return torch.einsum("rnd,rcd->rnc", c, weight), c.square().mean(-1), mean


def _height(mask: Float[Tensor, "R w"], slots: Tensor | None) -> int:
    """Rows that a slice of tokens takes: the readers, or if more, gathered writers."""
    return mask.shape[0] if slots is None else max(mask.shape)


def slices(base: Tensor, rows: int) -> list[slice]:
    """Cut the tokens so that `rows` of a slice (n x rows x D) fit SLICE_BYTES."""
    n, width = base.shape
    if not rows:
        return []
    step = max(1, SLICE_BYTES // (rows * width * base.element_size()))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]
