"""The masked read: what each reader sees, projected into its own channels, and its gradient.

With the differences delta_w = x_w - x~_w that the writers put in the residual stream, reader r sees

    x_r = base + sum_w z_rw delta_w                                               (1)

and only ever uses x_r through its norm and its projection, norm(x_r) @ weight_r. A norm is a shift
by the mean and a division by a scale, so both follow from three small things per token and reader:

    p_r = x_r @ weight_r        mean_r = mean(x_r)        square_r = mean((x_r - shift_r)^2)

with shift_r = mean_r for a LayerNorm and 0 for an RMSNorm. The wide x_r (N x R x D) is built in
slices of tokens that stay in cache, never kept, and built again in the backward pass. Given the
gradients of the three outputs,

    dx_r = dp_r @ weight_r^T + 2 dsquare_r (x_r - shift_r) / D + dmean_r / D
    dz_rw = sum_n <dx_r, delta_w>            ddelta_w = sum_r z_rw dx_r

`*_reference` say the same in the plainest way and define the fast path.
Shapes: N tokens, R readers, W writers, C channels of a head, D residual width.
"""

import torch
from jaxtyping import Float
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
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "R W"],
    ddelta: Float[Tensor, "W N D"],
) -> Float[Tensor, "R W"]:
    """Add the gradient of the writers to `ddelta` in place; return the mask's, in float32.

    `delta` is what the gradients are contracted with: the run's own differences, or another's.
    """
    wide = dx.flatten(1)
    ddelta.flatten(1).addmm_(mask.t(), wide)
    return (wide @ delta.flatten(1).t()).to(accumulator(dx.dtype))


def read(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "R W"],
    weight: Float[Tensor, "R C D"],
    centred: bool,
) -> tuple[Float[Tensor, "R N C"], Float[Tensor, "R N"], Float[Tensor, "R N"]]:
    """Projections p, means and mean squares of every reader's input; see the module's text."""
    n, readers = base.shape[0], mask.shape[0]
    p = base.new_empty(readers, n, weight.shape[1])
    mean = base.new_zeros(readers, n, dtype=accumulator(base.dtype))
    square = torch.empty_like(mean)
    for part in _slices(base, readers):
        x = mix(base[part], delta[:, part], mask)
        p[:, part] = torch.bmm(x, weight.transpose(1, 2))
        if centred:
            spread, centre = torch.var_mean(x.to(mean.dtype), dim=-1, correction=0)
            mean[:, part], square[:, part] = centre, spread
        else:
            norm = torch.linalg.vector_norm(x, dim=-1, dtype=mean.dtype)
            square[:, part] = norm.square() / x.shape[-1]
    return p, mean, square


def read_backward(
    base: Float[Tensor, "N D"],
    delta: Float[Tensor, "W N D"],
    mask: Float[Tensor, "R W"],
    weight: Float[Tensor, "R C D"],
    mean: Float[Tensor, "R N"],
    dp: Float[Tensor, "R N C"],
    dmean: Float[Tensor, "R N"],
    dsquare: Float[Tensor, "R N"],
    ddelta: Float[Tensor, "W N D"],
    contrast: Float[Tensor, "W N D"] | None = None,
) -> Float[Tensor, "R W"]:
    """Add the writers' gradient to `ddelta` in place; return the mask's, accumulated in float32.

    `contrast` stands in for `delta` in the mask's gradient alone.

    `mean` is the forward pass's shift: the readers' means under a LayerNorm, zeros under an
    RMSNorm.
    """
    width = base.shape[1]
    contrast = delta if contrast is None else contrast
    dmask = mask.new_zeros(mask.shape, dtype=accumulator(base.dtype))
    slope = (2.0 / width) * dsquare
    offset = (dmean / width - slope * mean).to(base.dtype)[..., None]
    slope = slope.to(base.dtype)[..., None]
    for part in _slices(base, mask.shape[0]):
        dx = mix(base[part], delta[:, part], mask).mul_(slope[:, part]).add_(offset[:, part])
        dx.baddbmm_(dp[:, part], weight)
        dmask += mix_backward(dx, contrast[:, part], mask, ddelta[:, part])
    return dmask


def read_reference(base, delta, mask, weight, centred):
    """What `read` computes, as written in the module's text."""
    x = base[None] + torch.einsum("rw,wnd->rnd", mask, delta)
    mean = x.mean(-1) if centred else torch.zeros_like(x[..., 0])
    square = (x - mean[..., None]).square().mean(-1)
    return torch.einsum("rnd,rcd->rnc", x, weight), mean, square


def _slices(base: Tensor, readers: int) -> list[slice]:
    """Cut the tokens so that one slice of the reader inputs (n x readers x D) fits SLICE_BYTES."""
    n, width = base.shape
    if not readers:
        return []
    step = max(1, SLICE_BYTES // (readers * width * base.element_size()))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]
