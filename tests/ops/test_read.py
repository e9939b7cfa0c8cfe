"""The masked read against its reference, outputs and every gradient, on awkward shapes."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from edgewise.ops import read as ops
from edgewise.ops import slices as cutting
from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import Dense, Sparse

# N tokens, W writers, R readers, C channels, D width
SHAPES = {
    "plain": (7, 5, 6, 4, 9),
    "one token": (1, 5, 6, 4, 9),
    "one writer": (7, 1, 6, 4, 9),
    "one reader": (7, 5, 1, 4, 9),
    "one channel": (7, 5, 6, 1, 9),
    "width one": (7, 5, 6, 4, 1),
    "no reader": (7, 5, 0, 4, 9),
    "no writer": (7, 0, 6, 4, 9),
    "all ones": (1, 1, 1, 1, 1),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
each_way = pytest.mark.parametrize("way", [Dense, Sparse])


@pytest.fixture(autouse=True)
def memory_full_of_nan() -> Iterator[None]:
    """Deterministic algorithms also fill new memory with NaN: reading it before writing shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(2).isnan().all()
    assert torch.ones(1).new_empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=[1, 700, 4 << 20], ids=["by token", "by few", "at once"])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a slice: less than one token's rows, a few tokens', all."""
    monkeypatch.setattr(cutting, "SLICE_BYTES", request.param)
    return request.param


def cut(values: Tensor) -> Chunks:
    """In chunks of three tokens, which `values` holds on to."""
    ends = range(0, values.shape[1], 3)
    return Chunks(
        tuple((part := slice(i, min(i + 3, values.shape[1])), values[:, part]) for i in ends)
    )


@dataclass
class Inputs:
    base: Tensor
    delta: Tensor
    mask: Tensor
    weight: Tensor

    @classmethod
    def random(cls, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> "Inputs":
        n, writers, readers, channels, width = shape
        generator = torch.Generator().manual_seed(0)
        sizes = (n, width), (writers, n, width), (readers, writers), (readers, channels, width)
        made = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
        made[2] = (made[2] * 0.8 + 0.5).clamp(0, 1)
        return cls(*(t.to(dtype) for t in made))


def backward(given: Inputs, grads: list[Tensor], way: type[Dense] = Dense) -> list[Tensor]:
    """The mask's and the writers' gradient, by hand; the latter added to what was there."""
    before = torch.randn(
        given.delta.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    ).to(given.delta.dtype)
    after = before.clone()
    delta, into = cut(given.delta), cut(after)
    dmask = ops.read_backward(given.base, delta, way(given.mask), given.weight, *grads, into)
    return [dmask, after - before]


@each_shape
@each_way
@pytest.mark.usefixtures("slices")
def test_read_and_its_gradient(shape: tuple[int, ...], way: type[Dense]) -> None:
    given = Inputs.random(shape)
    found = ops.read(given.base, cut(given.delta), way(given.mask), given.weight)
    leaves = [given.delta.clone().requires_grad_(), given.mask.clone().requires_grad_()]
    expected = ops.read_reference(given.base, *leaves, given.weight)
    for ours, theirs in zip(found[:2], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)

    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in expected]
    total = sum((t * g).sum() for t, g in zip(expected, grads, strict=True))
    ddelta, dmask = torch.autograd.grad(total, leaves)
    ours = backward(given, grads, way)
    if way is Sparse:
        dmask *= given.mask != 0
    torch.testing.assert_close(ours[0], dmask, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours[1], ddelta, rtol=1e-11, atol=1e-11)


@each_way
@pytest.mark.usefixtures("slices")
def test_readers_that_take_their_reads_whole(way: type[Dense]) -> None:
    """They are rows of a mix over bases of their own; the others don't notice them."""
    shape = (19, 5, 6, 4, 9)
    given, more = Inputs.random(shape), torch.rand(2, 5, dtype=torch.float64)
    bases = [torch.full_like(given.base, value) for value in (0.5, -2.0)]
    mask = torch.cat([given.mask, more])
    alone = ops.read(given.base, cut(given.delta), Dense(given.mask), given.weight)
    found = ops.read(given.base, cut(given.delta), way(mask), given.weight, others=bases)
    torch.testing.assert_close(found[:2], alone[:2])
    expected = torch.stack(bases) + torch.einsum("rw,wnd->rnd", more, given.delta)
    torch.testing.assert_close(found.whole, expected)

    grads = [torch.ones_like(t) for t in found[:2]]
    dwhole = [torch.full_like(given.base, value).cumsum(0) for value in (1.0, -3.0)]
    into, without = torch.zeros_like(given.delta), torch.zeros_like(given.delta)
    rest, delta = (given.weight, *grads), cut(given.delta)
    dmask = ops.read_backward(given.base, delta, way(mask), *rest, cut(into), dwhole=dwhole)
    theirs = ops.read_backward(given.base, delta, way(given.mask), *rest, cut(without))
    dx = torch.stack(dwhole)
    torch.testing.assert_close(dmask[:6], theirs)
    torch.testing.assert_close(dmask[6:], torch.einsum("rnd,wnd->rw", dx, given.delta))
    torch.testing.assert_close(into, without + torch.einsum("rw,rnd->wnd", more, dx))


@pytest.mark.usefixtures("slices")
def test_bfloat16_reads_sum_in_float32() -> None:
    given, exact = (Inputs.random((40, 30, 8, 4, 64), d) for d in (torch.bfloat16, torch.float64))
    exact = Inputs(*(getattr(given, name).double() for name in vars(exact)))
    found = ops.read(given.base, cut(given.delta), Dense(given.mask), given.weight)
    expected = ops.read_reference(*vars(exact).values())
    assert [t.dtype for t in found[:2]] == [torch.bfloat16, torch.float32]
    for ours, theirs in zip(found[:2], expected, strict=True):
        assert (ours - theirs).abs().max() <= 0.02 * theirs.abs().max()
    grads = [torch.ones_like(t) for t in found[:2]]
    ours = backward(given, grads)
    theirs = backward(exact, [g.double() for g in grads])
    assert ours[0].dtype == torch.float32
    assert ours[1].dtype == torch.bfloat16
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 0.03 * other.abs().max()


@pytest.mark.usefixtures("slices")
def test_some_writers_of_a_buffer() -> None:
    """Reads see the first writers of a wider buffer, and add to the first of another."""
    given = Inputs.random((7, 5, 6, 4, 9))
    wide = torch.full((8, 7, 9), torch.nan, dtype=torch.float64)
    wide[:5] = given.delta
    gradient = torch.zeros_like(wide)
    found = ops.read(given.base, cut(wide[:5]), Dense(given.mask), given.weight)
    expected = ops.read(given.base, cut(given.delta), Dense(given.mask), given.weight)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    grads = [torch.ones_like(t) for t in found[:2]]
    some = torch.zeros_like(given.delta)
    for delta, into in ((wide[:5], gradient[:5]), (given.delta, some)):
        rest = (Dense(given.mask), given.weight, *grads)
        ops.read_backward(given.base, cut(delta), *rest, cut(into))
    assert torch.equal(gradient[:5], some)
    assert not gradient[5:].any()
