"""Faithfulness as the MIB benchmark has it, and one number for a curve over densities.

With m a metric of the task, such as the logit difference, a circuit's faithfulness is its place
between the empty and the full model,

    f(C) = (m(C) - m(empty)) / (m(full) - m(empty))

and over the densities k of `DENSITIES`, each of int(k E) edges, joined by straight lines,

    CPR = integral of f dk            (edges ranked by value; more is better)
    CMD = integral of |1 - f| dk      (edges ranked by magnitude; less is better)

as `evaluate_area_under_curve` of MIB's circuit track does. 85% of their weight lies at k >= 0.2,
where most circuits are not. `log_area` weighs every factor in k alike: the mean over ln k.
"""

from collections.abc import Sequence

import numpy as np

from edgewise.errors import ConfigError, DataError

DENSITIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

Numbers = Sequence[float | int] | np.ndarray


def edges_at(density: float | int, n_edges: int) -> int:
    """How many of `n_edges` MIB keeps at a density: rounded down."""
    return int(density * n_edges)


def sizes_at(densities: Sequence[float | int], n_edges: int) -> list[int]:
    """The numbers of edges at those densities, rising, none twice, 0 left out.

    Raises ConfigError for a density outside (0, 1].
    """
    for density in densities:
        if not 0 < density <= 1:
            raise ConfigError(
                f"density must be in (0, 1], not {density!r}: 0.02 keeps 2% of the edges"
            )
    return sorted({edges_at(density, n_edges) for density in densities} - {0})


def faithfulness(metric: float | int, empty: float | int, full: float | int) -> float:
    """f(C) from m(C), m(empty) and m(full); DataError where the last two are equal."""
    if full == empty:
        raise DataError(
            f"faithfulness has no scale: the metric is {full:g} for the full and the empty circuit"
        )
    return (metric - empty) / (full - empty)


def area(density: Numbers, values: Numbers) -> float:
    """Integral of `values` over `density`, by trapezoids; the curve isn't extended to 0."""
    k, y = _curve(density, values)
    return float(np.trapezoid(y, k))


def log_area(density: Numbers, values: Numbers) -> float:
    """Mean of `values` over ln(density), by trapezoids."""
    k, y = _curve(density, values)
    return float(np.trapezoid(y, np.log(k)) / np.log(k[-1] / k[0]))


def cpr(density: Numbers, faithfulness: Numbers) -> float:
    """MIB's circuit performance ratio."""
    return area(density, faithfulness)


def cmd(density: Numbers, faithfulness: Numbers) -> float:
    """MIB's circuit-model distance; |1 - f| is taken at the points, then joined."""
    return area(density, np.abs(1 - np.asarray(faithfulness, np.float64)))


def _curve(density: Numbers, values: Numbers) -> tuple[np.ndarray, np.ndarray]:
    k, y = np.asarray(density, np.float64), np.asarray(values, np.float64)
    if k.ndim != 1 or k.shape != y.shape or len(k) < 2:
        raise DataError(f"a curve has two or more points, not {k.shape} and {y.shape}")
    if k[0] <= 0 or (np.diff(k) <= 0).any():
        raise DataError(f"a curve's densities must be positive and rise, not {k.tolist()}")
    return k, y
