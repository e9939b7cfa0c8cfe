"""Hard-concrete gates against integrals over their noise."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import Tensor

from edgewise.ops import gates

LOG_ALPHAS = (-8.0, -3.0, -0.5, 0.0, 1.0, 4.0, 9.0)


def gate(u: float, log_alpha: float) -> float:
    """z, by the formula in float64 and without clamped noise."""
    s = special.expit((special.logit(u) + log_alpha) / gates.BETA)
    return min(max(s * 1.2 - 0.1, 0.0), 1.0)


def noise_at(x: float, log_alpha: float) -> float:
    """The noise under which z, before it is clipped, is x."""
    return float(special.expit(gates.BETA * special.logit((x + 0.1) / 1.2) - log_alpha))


def as_tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("log_alpha", LOG_ALPHAS)
class TestDistribution:
    """The share of the noise in (0, 1) is a probability: no sampling."""

    def test_edges_of_the_clipped_noise(self, log_alpha):
        """`noise_at` inverts the sampling: integrals can be cut where the gate is clipped."""
        for x in (0.01, 0.3, 0.99):
            assert gate(noise_at(x, log_alpha), log_alpha) == pytest.approx(x, abs=1e-9)

    def test_probabilities_of_both_ends(self, log_alpha):
        low, high = noise_at(0, log_alpha), noise_at(1, log_alpha)
        inside = (low - 1e-9 * low, low + 1e-9 * (1 - low)), (high * (1 - 1e-9), high)
        assert gate(inside[0][0], log_alpha) == 0 < gate(low + 0.01 * (high - low), log_alpha)
        assert gate(high, log_alpha) == pytest.approx(1) != gate(low, log_alpha)
        assert gates.p_open(as_tensor(log_alpha)).item() == pytest.approx(1 - low, rel=1e-12)
        assert gates.p_one(as_tensor(log_alpha)).item() == pytest.approx(1 - high, rel=1e-9)

    def test_the_mean(self, log_alpha):
        low, high = noise_at(0, log_alpha), noise_at(1, log_alpha)
        inner, error = integrate.quad(gate, low, high, (log_alpha,), epsabs=1e-12, epsrel=1e-10)
        assert error < 1e-8
        expected = inner + 1 - high
        assert gates.mean(as_tensor(log_alpha)).item() == pytest.approx(expected, abs=2e-6)

    def test_the_density_adds_up(self, log_alpha):
        """The derivative of the module's P(z <= x) over (0, 1), and the two ends, make 1."""

        def density(x: float) -> float:
            x01 = (x + 0.1) / 1.2
            cdf = special.expit(gates.BETA * special.logit(x01) - log_alpha)
            return cdf * (1 - cdf) * gates.BETA / (x01 * (1 - x01)) / 1.2

        middle, _ = integrate.quad(density, 0, 1)
        ends = 1 - gates.p_open(as_tensor(log_alpha)) + gates.p_one(as_tensor(log_alpha))
        assert middle + ends.item() == pytest.approx(1, abs=1e-8)

    def test_samples_have_that_mean_and_those_ends(self, log_alpha):
        n = 200_001
        u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        z = gates.sample(torch.full((n,), log_alpha, dtype=torch.float64), u)
        a = as_tensor(log_alpha)
        assert (z > 0).double().mean().item() == pytest.approx(gates.p_open(a).item(), abs=1e-5)
        assert (z == 1).double().mean().item() == pytest.approx(gates.p_one(a).item(), abs=1e-5)
        assert z.mean().item() == pytest.approx(gates.mean(a).item(), abs=1e-5)


def test_samples_follow_the_formula():
    random = np.random.default_rng(0)
    u, a = random.uniform(0.01, 0.99, 500), random.normal(0, 3, 500)
    expected = [gate(*pair) for pair in zip(u, a, strict=True)]
    found = gates.sample(torch.from_numpy(a), torch.from_numpy(u))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_gradients_of_samples_by_differences():
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(400, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    a = torch.randn(400, generator=generator, dtype=torch.float64).requires_grad_()
    z = gates.sample(a, u)
    z.sum().backward()
    with torch.no_grad():
        difference = (gates.sample(a + 1e-6, u) - gates.sample(a - 1e-6, u)) / 2e-6
    torch.testing.assert_close(a.grad, difference, rtol=1e-6, atol=1e-8)
    clipped = (z == 0) | (z == 1)
    assert 50 < clipped.sum() < 350
    assert not a.grad[clipped].any()
    assert (a.grad[~clipped] > 0).all()


def test_the_mean_s_gradient_is_its_slope():
    a = torch.linspace(-5, 5, 21, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(gates.mean, a)
    assert torch.autograd.gradcheck(gates.p_open, a)
    assert torch.autograd.gradcheck(gates.p_one, a)


def test_noise_at_its_ends_stays_finite():
    for dtype in (torch.float32, torch.float64):
        a = torch.tensor([-20.0, 0.0, 20.0], dtype=dtype).requires_grad_()
        for u in (0.0, 1.0, 1e-30):
            z = gates.sample(a, torch.full((3,), u, dtype=dtype))
            (slope,) = torch.autograd.grad(z.sum(), a)
            assert torch.isfinite(z).all()
            assert torch.isfinite(slope).all()


def test_noise_and_temperature_by_the_formula():
    random = np.random.default_rng(0)
    u, a = random.uniform(0.01, 0.99, 200), random.normal(0, 2, 200)
    for noise, temperature in ((1.0, 2 / 3), (0.5, 2 / 3), (0.0, 0.3)):
        s = special.expit((noise * special.logit(u) + a) / temperature)
        found = gates.sample(torch.from_numpy(a), torch.from_numpy(u), temperature, noise)
        np.testing.assert_allclose(found, np.clip(1.2 * s - 0.1, 0, 1), atol=1e-12)


def test_without_noise_and_warmth_a_gate_is_a_threshold():
    a = as_tensor(-2.0, -0.1, 0.1, 2.0)
    found = gates.sample(a, torch.full_like(a, 0.9), temperature=0.01, noise=0.0)
    assert found.tolist() == [0, 0, 1, 1]


def test_gates_mirror_each_other():
    """z(log alpha, u) = 1 - z(-log alpha, 1 - u)."""
    a, u = as_tensor(*LOG_ALPHAS), torch.linspace(0.1, 0.9, len(LOG_ALPHAS), dtype=torch.float64)
    torch.testing.assert_close(gates.sample(a, u), 1 - gates.sample(-a, 1 - u))
    torch.testing.assert_close(gates.mean(a), 1 - gates.mean(-a))
    torch.testing.assert_close(gates.p_one(a), 1 - gates.p_open(-a))


def test_the_deterministic_mask_by_hand():
    """sigmoid(1.2 a), with as many of the smallest at 0 as are expected to be closed."""
    a = as_tensor(-6.0, -5.0, 0.0, 5.0, 6.0, 7.0)
    closed = sum(noise_at(0, x) for x in a.tolist())
    assert round(closed) == 2
    expected = [0, 0, *(1 / (1 + math.exp(-1.2 * x)) for x in (0, 5, 6, 7))]
    np.testing.assert_allclose(gates.deterministic(a), expected, rtol=1e-12)


def test_the_deterministic_mask_at_both_ends():
    assert not gates.deterministic(torch.full((7,), -30.0)).any()
    assert (gates.deterministic(torch.full((7,), 30.0)) > 0.999).all()
    open_ = gates.deterministic(torch.zeros(5))  # each open with probability .83
    assert (open_ == 0).sum() == 1
