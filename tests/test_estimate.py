"""Bootstrap intervals against the normal interval."""

import numpy as np
import pytest

from edgewise.estimate import Estimate


def test_a_large_sample_has_the_normal_interval():
    """The end of a percentile interval from m resamples has the error of a sample quantile,

    sqrt(p (1 - p) / m) / phi(z) = .084 of the mean's standard error at p = .025, m = 1000;
    four of those are the tolerance. Skewness moves the ends by less than .01 at n = 5000.
    """
    values = np.random.default_rng(3).exponential(2.0, 5000)
    error = values.std() / 5000**0.5
    found = Estimate.of(values, seed=1)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=4 * 0.084 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=4 * 0.084 * error)


def test_intervals_cover_prompts_and_not_draws():
    """Draws that repeat a prompt's value add no certainty, as if they were one."""
    values = np.random.default_rng(0).normal(size=200)
    repeated = np.stack([values] * 3, axis=1)
    once, thrice = Estimate.of(values, seed=5), Estimate.of(repeated, seed=5)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=0.02)
    pooled = Estimate.of(values.reshape(100, 2), seed=5)
    assert pooled.mean == pytest.approx(values.mean())


def test_estimates_are_seeded_and_take_any_statistic():
    values = np.random.default_rng(0).normal(size=300)
    assert Estimate.of(values, seed=2) == Estimate.of(values, seed=2)
    assert Estimate.of(values, seed=2) != Estimate.of(values, seed=3)
    high = Estimate.of(values, statistic=lambda sample: np.quantile(sample, 0.95, axis=-1))
    assert high.mean == pytest.approx(np.quantile(values, 0.95))
    assert high.low < high.mean < high.high
    assert Estimate.of(np.array([0.5])) == Estimate(0.5, 0.5, 0.5)


def test_resampling_in_pieces_is_the_same(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = Estimate.of(values)
    monkeypatch.setattr("edgewise.estimate._CHUNK", 333)
    assert Estimate.of(values) == whole
