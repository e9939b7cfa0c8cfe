"""The masked read: what each reader sees, projected into its own channels, and its gradient.

With the differences delta_w = x_w - x~_w that the writers put in the residual stream, reader r sees

    x_r = base + sum_w z_rw delta_w                                               (1)

and only ever uses x_r through its norm and its projection, norm(x_r) @ weight_r. A norm divides by
a scale, so two small things per token and reader are enough:

    p_r = x_r @ weight_r^T        square_r = mean(x_r^2)

The wide x_r (N x R x D) is built in slices of tokens that stay in cache, never kept, and built
again in the backward pass. An MLP's read of the same writers goes along, and is returned whole.
Given the gradients of the two outputs,

    dx_r = dp_r @ weight_r + 2 dsquare_r x_r / D
    dz_rw = sum_n <dx_r, delta_w>            ddelta_w = sum_r z_rw dx_r

A LayerNorm takes the mean off first, which is linear: base and delta_w come without theirs then,
and so does x_r.

`read_reference` says the same in the plainest way and defines the fast path.
Shapes: N tokens, R readers, W writers, C channels of a head, D residual width.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import Dense, accumulator
from edgewise.ops.slices import Room


class Read(NamedTuple):
    """What `read` found: p, square, and what those who take their reads whole saw."""

    p: Float[Tensor, "R N C"]
    square: Float[Tensor, "R N"]
    whole: Float[Tensor, "M N D"]


def read(
    base: Float[Tensor, "N D"],
    delta: Chunks,
    mixing: Dense,
    weight: Float[Tensor, "R C D"],
    others: Sequence[Float[Tensor, "N D"]] = (),
    held: Chunks | None = None,
) -> Read:
    """The reads of a group of readers, a slice of tokens at a time.

    mixing   the readers' entries of the mask
    others   bases of M further readers, the last of its rows, which take their reads whole
    held     what all of them saw of other writers already; it is used up
    """
    n, readers = base.shape[0], len(weight)
    p = base.new_empty(readers, n, weight.shape[1])
    square = base.new_empty(readers, n, dtype=accumulator(base.dtype))
    whole = base.new_empty(len(others), *base.shape)
    for part, mixed in _mixed(base, others, readers, delta, mixing, held):
        x, whole[:, part] = mixed[:readers], mixed[readers:]
        p[:, part] = torch.bmm(x, weight.transpose(1, 2))
        square[:, part] = mean_square(x)
    return Read(p, square, whole)


def mean_square(x: Float[Tensor, "*n D"]) -> Float[Tensor, "*n"]:
    """mean(x^2), accumulated in float32."""
    norm = torch.linalg.vector_norm(x, dim=-1, dtype=accumulator(x.dtype))
    return norm.square() / x.shape[-1]


def read_backward(
    base: Float[Tensor, "N D"],
    delta: Chunks,
    mixing: Dense,
    weight: Float[Tensor, "R C D"],
    dp: Float[Tensor, "R N C"],
    dsquare: Float[Tensor, "R N"],
    ddelta: Chunks,
    dwhole: Sequence[Float[Tensor, "N D"]] = (),
    held: Chunks | None = None,
) -> Float[Tensor, "r w"]:
    """Add the writers' gradient to `ddelta` in place; return the mask's, accumulated in float32.

    dwhole   gradients of what its `others` saw
    held     as in `read`, of which it becomes the gradient
    """
    readers = len(weight)
    dmask = torch.zeros_like(mixing.mask, dtype=accumulator(base.dtype))
    slope = ((2.0 / base.shape[1]) * dsquare).to(base.dtype)[..., None]
    for part, grads in _mixed(base, (), readers, delta, mixing, held):
        dx = grads[:readers]
        dx *= slope[:, part]
        dx.baddbmm_(dp[:, part], weight)
        for row, other in enumerate(dwhole, start=readers):
            grads[row] = other[part]
        dmask += mixing.backward(grads, delta.at(part), ddelta.at(part))
    return dmask


def _mixed(
    base: Float[Tensor, "N D"],
    others: Sequence[Float[Tensor, "N D"]],
    readers: int,
    delta: Chunks,
    mixing: Dense,
    held: Chunks | None,
) -> Iterator[tuple[slice, Float[Tensor, "r n D"]]]:
    """Memory for all rows at one slice of tokens after another, with what readers and others see.

    Without `others` the rows after the readers' have any values.
    """
    count = len(mixing.mask)
    room, put = Room(base), Tensor.copy_ if held is None else Tensor.add_
    fresh = ((part, room.take(count, part)) for part in delta.slices(base, count))
    for part, rows in fresh if held is None else held:
        put(rows[:readers], base[part])
        for row, other in enumerate(others, start=readers):
            put(rows[row], other[part])
        mixing.add(rows[: readers + len(others)], delta.at(part))
        yield part, rows


def read_reference(base, delta, mask, weight):
    """What `read` computes, as written in the module's text."""
    x = base[None] + torch.einsum("rw,wnd->rnd", mask, delta)
    return torch.einsum("rnd,rcd->rnc", x, weight), x.square().mean(-1)
