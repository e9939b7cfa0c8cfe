"""Budgeted gates: their sum, and the gradient under it, by finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise.discovery import budget
from edgewise.ops import gates

TEMPERATURES = (0.01, 0.1, 2 / 3, 1.0, 5.0, 100.0)


def gates_at(log_alpha: Tensor, c: float, temperature: float) -> Tensor:
    """z(a - c), noiseless."""
    half = torch.full_like(log_alpha, 0.5)
    return gates.sample(log_alpha - c, half, temperature, 0.0)


def vectors() -> dict[str, Tensor]:
    """Log-odds as training leaves them, and worse."""
    draw = np.random.default_rng(0)
    normal = draw.normal(size=997)
    return {
        "normal": normal,
        "noisy": normal + draw.logistic(size=997),
        "wide": 40 * normal,
        "heavy tails": draw.standard_cauchy(997),
        "two groups": np.where(normal > 1, 30.0, -30.0) + 0.1 * normal,
        "far away": 1e3 + normal,
        "one": np.array([3.0]),
        "two far apart": np.array([-500.0, 500.0]),
        "start": 2 * np.log((np.arange(997) + 0.5) / (996.5 - np.arange(997))),
    }


def resolution(log_alpha: Tensor, temperature: float) -> float:
    """How far the gates' sum may be off: what rounding log-odds of this size moves it by, at most.

    A gate's slope is at most (RIGHT - LEFT) / (4 temperature), and at most E gates move.
    """
    size = log_alpha.abs().max().item() + budget.REACH
    moved = torch.finfo(log_alpha.dtype).eps * size * (gates.RIGHT - gates.LEFT) / (4 * temperature)
    return 1e-9 + len(log_alpha) * (min(1.0, moved) + torch.finfo(log_alpha.dtype).eps)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(vectors()))
def test_gates_sum_to_the_budget(name, temperature, dtype):
    log_alpha = torch.from_numpy(vectors()[name]).to(dtype)
    for share in (1e-4, 0.02, 0.3, 0.5, 0.9, 1.0):
        asked = share * len(log_alpha)
        z = gates_at(log_alpha, budget.shift(log_alpha, asked, temperature), temperature)
        assert abs(z.double().sum().item() - asked) <= resolution(log_alpha, temperature)


def test_the_tolerance_above_is_tight_where_it_matters():
    """In float64 it is nothing, in float32 at a usual temperature a fraction of a gate."""
    usual = torch.from_numpy(vectors()["start"])
    assert resolution(usual, 0.01) < 1e-8
    assert resolution(usual.float(), 0.1) < 0.05


def test_equal_log_odds_share_the_budget_equally():
    log_alpha = torch.full((10,), 7.0)
    z = gates_at(log_alpha, budget.shift(log_alpha, 2.5, 1.0), 1.0)
    torch.testing.assert_close(z, torch.full((10,), 0.25))


def test_noise_is_a_summand_of_the_log_odds():
    draw = torch.Generator().manual_seed(0)
    log_alpha = torch.randn(500, generator=draw)
    u = torch.rand(500, generator=draw)
    for amount in (0.1, 1.0):
        c = budget.shift(log_alpha + amount * gates.logistic(u), 50.0, 0.5)
        z = gates.sample(log_alpha - c, u, 0.5, amount)
        assert z.sum().item() == pytest.approx(50, abs=1e-2)


def test_a_shift_of_all_log_odds_is_undone():
    log_alpha = torch.from_numpy(vectors()["normal"])
    first, moved = (budget.shift(a, 100.0, 0.5) for a in (log_alpha, log_alpha + 3))
    assert moved - first == pytest.approx(3, abs=1e-9)


def test_a_larger_budget_opens_every_gate_further():
    log_alpha = torch.from_numpy(vectors()["noisy"])
    zs = [gates_at(log_alpha, budget.shift(log_alpha, k, 0.5), 0.5) for k in (10, 100, 600)]
    assert bool((zs[0] <= zs[1]).all())
    assert bool((zs[1] <= zs[2]).all())


def test_hard_gates_are_the_largest_log_odds():
    """At a low temperature a whole budget of k opens the best k and no other."""
    log_alpha = torch.randperm(200, generator=torch.Generator().manual_seed(0)).double()
    for k in (1, 7, 199, 200):
        z = gates_at(log_alpha, budget.shift(log_alpha, k, 0.01), 0.01)
        best = torch.zeros(200, dtype=torch.bool)
        best[log_alpha.topk(k).indices] = True
        torch.testing.assert_close(z, best.double(), atol=1e-6, rtol=0)


def test_as_many_gates_as_a_13b_model_has_edges():
    """Float32 sums of millions of gates would lose the budget; these are added up in float64."""
    log_alpha = 3 * torch.randn(3_872_820, generator=torch.Generator().manual_seed(0))
    z = gates_at(log_alpha, budget.shift(log_alpha, 0.02 * len(log_alpha), 0.5), 0.5)
    assert z.double().mean().item() == pytest.approx(0.02, rel=1e-5)


# The gradient


def loss(z: Tensor) -> Tensor:
    """Any smooth function of the gates that mixes them."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, len(z), len(z), generator=generator, dtype=z.dtype) / len(z)
    return (a @ z).tanh().sum() + z @ b @ z


def projected(log_alpha: Tensor, asked: float, temperature: float) -> tuple[Tensor, Tensor]:
    """The gradient that training uses, and the gates."""
    at = (log_alpha - budget.shift(log_alpha, asked, temperature)).requires_grad_()
    z = gates.sample(at, torch.full_like(at, 0.5), temperature, 0.0)
    (gradient,) = torch.autograd.grad(loss(z), at)
    return budget.project(gradient, torch.sigmoid(at.detach() / temperature)), z.detach()


def central(log_alpha: Tensor, asked: float, temperature: float, step: float = 1e-5) -> Tensor:
    """Finite differences of L(z(a - c(a))), one entry of a at a time, c found again each time."""

    def value(a: Tensor) -> float:
        return loss(gates_at(a, budget.shift(a, asked, temperature), temperature)).item()

    bumps = step * torch.eye(len(log_alpha), dtype=log_alpha.dtype)
    differences = [value(log_alpha + bump) - value(log_alpha - bump) for bump in bumps]
    return torch.tensor(differences, dtype=torch.float64) / (2 * step)


@pytest.mark.parametrize(("asked", "temperature"), [(10.0, 1.0), (14.0, 1.0), (12.0, 2 / 3)])
def test_without_clipped_gates_it_is_the_gradient_under_the_budget(asked, temperature):
    draw = torch.Generator().manual_seed(3)
    log_alpha = 0.5 * torch.randn(24, generator=draw, dtype=torch.float64) + 5
    gradient, z = projected(log_alpha, asked, temperature)
    assert 0 < z.min() < z.max() < 1, "the case is meant to have no clipped gate"
    expected = central(log_alpha, asked, temperature)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)
    assert expected.abs().max() > 1e-2


def test_a_gate_that_has_just_closed_is_pulled_on_and_one_far_away_is_not():
    log_alpha = torch.cat([torch.linspace(-2, 2, 20), torch.tensor([-60.0, 60.0])]).double()
    gradient, z = projected(log_alpha, 10.0, 0.5)
    closed = (z == 0).nonzero().flatten().tolist()
    assert 20 in closed
    assert gradient[20:].abs().max() < 1e-12
    just = [e for e in closed if e != 20]
    assert just
    assert gradient[just].abs().min() > 1e-4


@pytest.mark.parametrize("name", list(vectors()))
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_a_projected_gradient_has_no_common_shift(name, temperature):
    at = torch.from_numpy(vectors()[name])
    at = at - budget.shift(at, 0.3 * len(at), temperature)
    gradient = torch.randn(len(at), generator=torch.Generator().manual_seed(0)).double()
    sigmoid = torch.sigmoid(at / temperature)
    left = budget.project(gradient, sigmoid).sum().abs().item()
    if (sigmoid * (1 - sigmoid)).sum() > 1e-12:
        assert left < 1e-9
    else:  # every gate is 0 or 1 for certain: nothing to share it out to
        assert left == pytest.approx(gradient.sum().abs().item())


def test_the_projection_of_a_projection_is_itself():
    gradient = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    sigmoid = torch.rand(50, generator=torch.Generator().manual_seed(1)).double()
    once = budget.project(gradient, sigmoid)
    torch.testing.assert_close(budget.project(once, sigmoid), once)


def test_gates_that_are_all_certain_give_no_nan():
    """Weights of 0 for all: the gradient of what is clipped is 0, and stays so."""
    sigmoid = torch.tensor([0.0, 1.0, 1.0])
    assert budget.project(torch.zeros(3), sigmoid).tolist() == [0, 0, 0]


# The schedule


def test_the_fall_starts_and_ends_where_it_says_and_is_log_linear():
    values = [budget.fall(step, 0.32, 0.02, 4) for step in range(7)]
    assert values == pytest.approx([0.32, 0.16, 0.08, 0.04, 0.02, 0.02, 0.02])
    assert values[-1] == pytest.approx(0.02, rel=1e-15)


def test_a_fall_of_no_steps_is_its_end():
    assert budget.fall(0, 0.3, 0.02, 0.0) == pytest.approx(0.02)


def test_a_fall_may_rise():
    assert budget.fall(1, 0.1, 0.4, 2) == pytest.approx(0.2)


def test_a_fall_in_a_fraction_of_steps():
    assert budget.fall(1, 1.0, math.exp(-3), 1.5) == pytest.approx(math.exp(-2))
    assert budget.fall(2, 1.0, math.exp(-3), 1.5) == pytest.approx(math.exp(-3))
