"""Hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312), with the constants of Edge Pruning.

A gate z in [0, 1] is 0 or 1 with positive probability and yet has a gradient:

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta)        u ~ Uniform(0, 1)
    z = clip(s * (RIGHT - LEFT) + LEFT, 0, 1)

so that, with x01 = (x - LEFT) / (RIGHT - LEFT),

    P(z <= x) = sigmoid(beta * logit(x01) - log_alpha)          0 <= x < 1

log_alpha is in log-odds; beta = 2/3, LEFT = -0.1, RIGHT = 1.1.

The same gate with its noise scaled by nu and at another temperature,

    s = sigmoid((nu (log u - log(1 - u)) + log_alpha) / beta)

is the hard-concrete gate at nu = 1, beta = 2/3, and a hard threshold of log_alpha as nu and beta go
to 0.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

LEFT, RIGHT, BETA = -0.1, 1.1, 2.0 / 3.0
EPS = 1e-6
ZERO_POINT = BETA * math.log(-LEFT / RIGHT)  # beta * logit(x01) at x = 0, negative
ONE_POINT = -ZERO_POINT  # by symmetry, at x = 1


def sample(
    log_alpha: Float[Tensor, "*E"],
    u: Float[Tensor, "*E"],
    temperature: float = BETA,
    noise: float = 1.0,
) -> Float[Tensor, "*E"]:
    """Gates for uniform noise `u` in (0, 1); the gradient is zero where a gate is clipped."""
    return gate(noise * logistic(u) + log_alpha, temperature)


def gate(logits: Float[Tensor, "*E"], temperature: float | int = BETA) -> Float[Tensor, "*E"]:
    """z of the log-odds, noise included, that its sigmoid is taken of."""
    s = torch.sigmoid(logits / temperature)
    return (s * (RIGHT - LEFT) + LEFT).clamp(0.0, 1.0)


def logistic(u: Float[Tensor, "*E"]) -> Float[Tensor, "*E"]:
    """log u - log(1 - u), kept finite."""
    u = u.clamp(EPS, 1 - EPS)
    return torch.log(u) - torch.log1p(-u)


def p_open(log_alpha: Float[Tensor, "*E"]) -> Float[Tensor, "*E"]:
    """P(z > 0): the expected number of open gates is its sum (the L0 norm of Louizos et al.)."""
    return torch.sigmoid(log_alpha - ZERO_POINT)


def p_one(log_alpha: Float[Tensor, "*E"]) -> Float[Tensor, "*E"]:
    """P(z = 1)."""
    return torch.sigmoid(log_alpha - ONE_POINT)


def mean(log_alpha: Float[Tensor, "*E"], points: int = 256) -> Float[Tensor, "*E"]:
    """E[z] = integral over [0, 1] of P(z > x) dx, by the midpoint rule on `points` nodes."""
    total = torch.zeros_like(log_alpha)
    for i in range(points):
        x01 = ((i + 0.5) / points - LEFT) / (RIGHT - LEFT)
        total += torch.sigmoid(log_alpha - BETA * math.log(x01 / (1 - x01)))
    return total / points


def deterministic(log_alpha: Float[Tensor, " E"]) -> Float[Tensor, " E"]:
    """The paper's evaluation mask: sigmoid(1.2 log_alpha), its round(E - E[L0]) smallest at 0.

    The factor 1.2 is the reference's 0.8 / beta. Unlike the reference only real edges are counted,
    in one vector, not one tensor a layer whose non-causal entries distort the count.
    """
    soft = torch.sigmoid(log_alpha * (0.8 / BETA))
    zeros = round(log_alpha.numel() - p_open(log_alpha).sum().item())
    order = torch.argsort(soft, stable=True)
    soft[order[:zeros]] = 0.0
    return soft
