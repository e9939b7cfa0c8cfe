"""Parts of a mask times the differences, each way against the plainest products."""

import pytest
import torch

from edgewise.ops import mixing as ops


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows", [(3, 5), (16, 20), (20, 16)])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 40])
def test_products_of_every_number_of_tokens(
    n: int, rows: tuple[int, int], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(n)
    dx, delta = (
        torch.randn(count, n, 9, generator=generator, dtype=torch.float64).to(dtype)
        for count in rows
    )
    found = ops.products(dx, delta)
    assert found.dtype == ops.accumulator(dtype)
    dx, delta = dx.double(), delta.double()
    expected = torch.einsum("rnd,wnd->rw", dx, delta)
    bound = 1e-15 * torch.einsum("rnd,wnd->rw", dx.abs(), delta.abs())
    if dtype == torch.bfloat16:
        bound = 0.01 * expected.abs().clamp(min=1)
    assert ((found - expected).abs() <= bound).all()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("way", [ops.Dense, ops.Sparse])
def test_each_way_is_the_equation_and_its_gradient(way: type[ops.Dense], n: int) -> None:
    mask, delta, base = random(6, 5).clamp(min=0), random(5, n, 9), random(6, n, 9)
    assert 0 < mask.count_nonzero() < mask.numel()
    leaves = [t.clone().requires_grad_() for t in (mask, delta)]
    expected = base + torch.einsum("rw,wnd->rnd", *leaves)
    for readers in (6, 2):
        x = base[:readers].clone()
        way(mask).add(x, delta)
        torch.testing.assert_close(x, expected.detach()[:readers])

    dx, before = random(6, n, 9).flip(0), random(5, n, 9).flip(0)
    dmask, ddelta = torch.autograd.grad(expected, leaves, dx)
    after = before.clone()
    found = way(mask).backward(dx, delta, after)
    torch.testing.assert_close(after, before + ddelta)
    if way is ops.Sparse:
        assert not found[mask == 0].any()
        dmask *= mask != 0
    torch.testing.assert_close(found, dmask)


def test_mix_is_the_equation() -> None:
    mask, delta, base = random(6, 5), random(5, 7, 9), random(7, 9)
    expected = base + torch.einsum("rw,wnd->rnd", mask, delta)
    torch.testing.assert_close(ops.mix(base, delta, mask), expected)


def test_few_entries_of_wide_values_go_one_by_one() -> None:
    few, many = torch.zeros(3, 8), torch.ones(3, 8)
    few[1, 2:5] = 0.5
    assert type(ops.mixing(few)) is ops.Sparse
    assert type(ops.mixing(few.double())) is ops.Sparse
    for mask in (many, few.bfloat16(), torch.zeros(3, 8), torch.zeros(0, 8), torch.zeros(3, 0)):
        assert type(ops.mixing(mask)) is ops.Dense
