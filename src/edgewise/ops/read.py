"""The masked read: what each reader sees, projected into its own channels, and its gradient.

With the differences delta_w = x_w - x~_w that the writers put in the residual stream, reader r sees

    x_r = base + sum_w z_rw delta_w                                               (1)

and only ever uses x_r through its norm and its projection, norm(x_r) @ weight_r. A norm divides by
a scale, after a LayerNorm has taken the mean off; so with c_r = x_r - mean(x_r) under a LayerNorm
and c_r = x_r under an RMSNorm, two small things per token and reader are enough:

    p_r = c_r @ weight_r^T        square_r = mean(c_r^2)

The wide c_r (N x R x D) is built in slices of tokens that stay in cache, never kept, and built
again in the backward pass. Given the gradients of the two outputs,

    dx_r = dp_r @ weight_r + 2 dsquare_r c_r / D
    dz_rw = sum_n <dx_r, delta_w>            ddelta_w = sum_r z_rw dx_r

where the rows of weight_r must sum to 0 under a LayerNorm: then dx_r does too, and taking the mean
off needs no step of its own.

`read_reference` says the same in the plainest way and defines the fast path.
Shapes: N tokens, R readers, W writers, C channels of a head, D residual width.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

SLICE_BYTES = 4 << 20  # of the wide reader inputs kept at a time


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
    return (wide @ delta.flatten(1).t()).to(accumulator(dx.dtype))


def picked(
    delta: Float[Tensor, "W N D"], slots: Int[Tensor, " w"] | None, part: slice
) -> Float[Tensor, "w n D"]:
    """Some writers' differences (None: all) at some tokens."""
    return delta[:, part] if slots is None else delta[:, part].index_select(0, slots)


def read(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "R w"],
    weight: Float[Tensor, "R C D"],
    centred: bool,
    slots: Int[Tensor, " w"] | None = None,
) -> tuple[Float[Tensor, "R N C"], Float[Tensor, "R N"], Float[Tensor, "R N"] | None]:
    """p, square and, if `centred`, the means that the reads had (None for an RMSNorm).

    slots    of the writers in `delta` that the columns of `mask` are for (None: of all)
    """
    n, readers = base.shape[0], mask.shape[0]
    p = base.new_empty(readers, n, weight.shape[1])
    square = base.new_empty(readers, n, dtype=accumulator(base.dtype))
    mean = torch.empty_like(square) if centred else None
    for part in slices(base, _height(mask, slots)):
        x = mix(base[part], picked(delta, slots, part), mask)
        if mean is not None:
            mean[:, part] = x.mean(-1, dtype=mean.dtype)
            x -= mean[:, part, None].to(x.dtype)
        p[:, part] = torch.bmm(x, weight.transpose(1, 2))
        norm = torch.linalg.vector_norm(x, dim=-1, dtype=square.dtype)
        square[:, part] = norm.square() / x.shape[-1]
    return p, square, mean


def read_backward(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "R w"],
    weight: Float[Tensor, "R C D"],
    mean: Float[Tensor, "R N"] | None,
    dp: Float[Tensor, "R N C"],
    dsquare: Float[Tensor, "R N"],
    ddelta: Float[Tensor, "W N D"],
    slots: Int[Tensor, " w"] | None = None,
) -> Float[Tensor, "R w"]:
    """Add the writers' gradient to `ddelta` in place; return the mask's, accumulated in float32.

    mean     of the reads, as `read` returned it; then the rows of `weight` must sum to 0
    slots    as in `read`
    """
    dmask = mask.new_zeros(mask.shape, dtype=accumulator(base.dtype))
    slope = (2.0 / base.shape[1]) * dsquare
    offset = None if mean is None else (-slope * mean).to(base.dtype)[..., None]
    slope = slope.to(base.dtype)[..., None]
    for part in slices(base, _height(mask, slots)):
        seen = picked(delta, slots, part)
        dx = mix(base[part], seen, mask).mul_(slope[:, part])
        if offset is not None:
            dx += offset[:, part]
        dx.baddbmm_(dp[:, part], weight)
        dmask += mix_backward(dx, seen, mask, ddelta[:, part], slots)
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
