"""Budget projection: gates that compete for a number of open edges, so that the density is what was asked.

With gate parameters a_e (log-odds), the gates drawn are hard-concrete(a_e - c), where the shift c solves

    sum_e P(z_e > 0) = budget                                                     (1)

anew at every step. Moving all a_e together changes nothing, so the gradient's component along that direction
is removed: from g = dL/da at fixed c, the gradient under the constraint (1) is

    g_e - w_e sum(g) / sum(w)        w_e = dP(z_e > 0)/da_e = P (1 - P)

The budget falls from `start` to the density asked for, log-linearly, and is then held.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.ops import gates

REACH = 80.0  # log-odds beyond which a gate is open or closed for certain


def shift(log_alpha: Float[Tensor, " E"], budget: float) -> float:
    """c such that hard-concrete(log_alpha - c) opens `budget` gates in expectation, by bisection."""
    low = float(log_alpha.min()) - REACH
    high = float(log_alpha.max()) + REACH
    for _ in range(60):
        middle = (low + high) / 2
        if float(gates.p_open(log_alpha - middle).sum(dtype=torch.float64)) > budget:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def project(gradient: Float[Tensor, " E"], log_alpha: Float[Tensor, " E"]) -> Float[Tensor, " E"]:
    """The gradient with respect to the parameters under (1); `log_alpha` is already shifted."""
    p = gates.p_open(log_alpha)
    weight = p * (1 - p)
    return gradient - weight * (gradient.sum() / weight.sum().clamp(min=1e-12))


def density_at(step: int, start: float, end: float, steps: int) -> float:
    """Log-linear from `start` at step 0 to `end` at step `steps`, then `end`."""
    done = min(1.0, step / steps) if steps else 1.0
    return math.exp(math.log(max(start, end)) * (1 - done) + math.log(end) * done)
