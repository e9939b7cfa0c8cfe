"""The paper's control of sparsity: learned multipliers and a moving target (arXiv 2406.16778, 3).

With s the sparsity of the sampled gates and t the target of this step, the loss gains

    lambda_1 (s - t) + lambda_2 (s - t)^2

in which the multipliers ascend while the gates descend. The target rises from 0 over the first
steps, linearly, or with the density 1 - t falling log-linearly, and then stays; above 1 it can't be
met and only pushes harder, as the paper does on purpose.
"""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from edgewise.errors import ConfigError

Schedule = Literal["linear", "logarithmic"]


def penalty(
    sparsity: Float[Tensor, ""], target: float, multipliers: Float[Tensor, "2"]
) -> Float[Tensor, ""]:
    """lambda_1 (s - t) + lambda_2 (s - t)^2."""
    gap = sparsity - target
    return multipliers[0] * gap + multipliers[1] * gap.square()


def target_at(step: int, target: float, steps: int, schedule: Schedule) -> float:
    """The target sparsity at a step: from 0 to `target` over `steps`, then constant."""
    done = min(1.0, step / steps) if steps else 1.0
    if schedule == "linear":
        return target * done
    if target >= 1:
        raise ConfigError(
            f"a logarithmic schedule needs a target sparsity below 1, not {target}: use 'linear'"
        )
    return 1 - math.exp(math.log(1 - target) * done)
