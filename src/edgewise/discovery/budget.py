"""Budget projection: gates that compete for a fixed sum, so that the density is what was asked.

With gate parameters a_e (log-odds), a step uses the gates z_e(a_e - c), where the shift c solves

    sum_e z_e(a_e - c) = budget                                                   (1)

anew at every step, for that step's noise and temperature. Moving all a_e together changes nothing,
so the gradient g = dL/da at fixed c loses its component along that direction:

    g_e - w_e sum(g) / sum(w)        w_e = s_e (1 - s_e), s the gates' sigmoid before it is clipped

(with w the derivative of (1) itself, clipped gates would have no weight; the sigmoid's slope lets a
gate that has just closed be pulled back to where it has a gradient of its own).

The budget falls from `start` to the density asked for, log-linearly, and is then held; meanwhile
the temperature falls too, until the gates are as good as 0 and 1 and rounding them changes little.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.ops import gates

REACH = 80.0  # log-odds beyond which a gate is open or closed for certain, at temperatures up to
COOL = 25.0  # this; it is so beyond temperature * log(11), about 2.4 temperatures


def shift(
    log_alpha: Float[Tensor, " E"], budget: float | int, temperature: float = gates.BETA
) -> float:
    """c such that the noiseless gates of log_alpha - c sum to `budget`, by bisection.

    Noise is another summand of log_alpha: give their sum.
    """
    reach = REACH * max(1.0, temperature / COOL)
    low, high = float(log_alpha.min()) - reach, float(log_alpha.max()) + reach
    for _ in range(50):
        middle = (low + high) / 2
        z = gates.gate(log_alpha - middle, temperature)
        if float(z.sum(dtype=torch.float64)) > budget:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def project(gradient: Float[Tensor, " E"], sigmoid: Float[Tensor, " E"]) -> Float[Tensor, " E"]:
    """The gradient under (1), from the one at fixed c and the gates' sigmoids."""
    weight = sigmoid * (1 - sigmoid)
    return gradient - weight * (gradient.sum() / weight.sum().clamp(min=1e-12))


def fall(step: int, start: float | int, end: float | int, steps: float | int) -> float:
    """Log-linear from `start` at step 0 to `end` at step `steps`, then `end`."""
    done = min(1.0, step / steps) if steps else 1.0
    return math.exp(math.log(start) * (1 - done) + math.log(end) * done)
