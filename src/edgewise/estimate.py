"""A mean over prompts, and how far it could be off: the percentile bootstrap (Efron 1979)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

_RESAMPLES = 1000
_CHUNK = 1 << 22  # numbers drawn at a time


@dataclass(frozen=True)
class Estimate:
    """A statistic over prompts and its 95% bootstrap percentile interval."""

    mean: float | int
    low: float | int
    high: float | int

    @classmethod
    def of(
        cls,
        values: Shaped[np.ndarray, " P *draws"],
        seed: int = 0,
        statistic: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> "Estimate":
        """From a value, or a row of values, for each prompt.

        Prompts are drawn with replacement, with all their values, 1000 times. `statistic` reduces
        the last axis: the mean unless given.
        """
        reduce = statistic or (lambda sample: sample.mean(-1))
        values = np.asarray(values, np.float64)
        n, generator = len(values), np.random.default_rng(seed)
        step = max(1, _CHUNK // values.size)
        found = []
        for start in range(0, _RESAMPLES, step):
            drawn = generator.integers(n, size=(min(step, _RESAMPLES - start), n), dtype=np.int32)
            found.append(reduce(values[drawn].reshape(len(drawn), -1)))
        low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
        return cls(float(reduce(values.reshape(-1))), float(low), float(high))
