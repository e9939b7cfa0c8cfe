"""Faithfulness and areas, worked out by hand."""

import numpy as np
import pytest

from edgewise import curve
from edgewise.errors import ConfigError, DataError


def test_faithfulness_is_the_place_between_empty_and_full():
    found = [curve.faithfulness(m, empty=-1, full=2) for m in (-1, 0.5, 2, 5)]
    assert found == [0, 0.5, 1, 2]
    assert curve.faithfulness(2.0, empty=3.0, full=1.0) == 0.5  # a metric that should be low
    with pytest.raises(DataError, match="no scale: the metric is 3 "):
        curve.faithfulness(1.0, 3, 3)


def test_areas_of_straight_lines():
    assert curve.area([0.2, 1.0], [0.5, 1.0]) == pytest.approx(0.8 * 0.75)
    assert curve.area([0.2, 0.6, 1.0], [0.5, 0.75, 1.0]) == pytest.approx(0.8 * 0.75)
    # |1 - f| at the points is .5, .5, so f's crossing of 1 between them counts for nothing
    assert curve.cmd([0.5, 1.0], [0.5, 1.5]) == pytest.approx(0.25)
    assert curve.cpr([0.5, 1.0], [0.5, 1.5]) == pytest.approx(0.5)


def test_a_log_area_weighs_every_factor_alike():
    assert curve.log_area([0.01, 0.1, 1], [0, 1, 1]) == pytest.approx(0.75)
    assert curve.log_area([0.01, 1], [2, 2]) == pytest.approx(2)


def test_mib_s_weight_is_at_high_densities():
    k = np.array(curve.DENSITIES)
    perfect = np.ones(len(k))
    assert curve.cpr(k, perfect) == pytest.approx(0.999)
    assert curve.cmd(k, perfect) == 0
    # What f is from 0.1 down counts for (.1 - .001) / .999 and half of 0.1 to 0.2.
    late = curve.cpr(k, (k > 0.15).astype(float))
    assert late == pytest.approx(0.8 + 0.05)
    assert curve.log_area(k, (k > 0.15).astype(float)) < 0.35


def test_numbers_of_edges_are_rounded_down_as_mib_does():
    assert curve.edges_at(0.005, 32_491) == 162
    assert curve.edges_at(0.02, 32_491) == 649  # of 649.82
    assert curve.sizes_at((1, 0.02, 0.021, 0.001), 100) == [2, 100]
    for density in (0, -0.1, 1.5):
        with pytest.raises(ConfigError, match=r"density must be in \(0, 1\]"):
            curve.sizes_at((density,), 100)


@pytest.mark.parametrize(
    ("density", "values"),
    [([0.1], [1]), ([0.1, 0.1], [1, 2]), ([1, 0.1], [1, 2]), ([0, 1], [1, 2]), ([0.1, 1], [1])],
)
def test_what_is_no_curve_is_refused(density, values):
    for function in (curve.area, curve.log_area, curve.cpr, curve.cmd):
        with pytest.raises(DataError, match="a curve"):
            function(density, values)
