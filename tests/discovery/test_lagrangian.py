"""The penalty by hand, who climbs and who descends, and the target's way up."""

import itertools
import math

import pytest
import torch

from edgewise.discovery import lagrangian
from edgewise.errors import ConfigError


def test_the_penalty_by_hand():
    found = lagrangian.penalty(torch.tensor(0.75), 0.5, torch.tensor([2.0, 8.0]))
    assert found.item() == 2 * 0.25 + 8 * 0.0625
    assert lagrangian.penalty(torch.tensor(0.5), 0.5, torch.tensor([2.0, 8.0])).item() == 0
    below = lagrangian.penalty(torch.tensor(0.25), 0.5, torch.tensor([2.0, 8.0]))
    assert below.item() == -2 * 0.25 + 8 * 0.0625


@pytest.mark.parametrize(("sparsity", "target"), [(0.2, 0.6), (0.9, 0.6), (0.99, 1.1)])
def test_its_gradients(sparsity, target):
    s = torch.tensor(sparsity, dtype=torch.float64, requires_grad=True)
    multipliers = torch.tensor([-1.5, 3.0], dtype=torch.float64, requires_grad=True)
    lagrangian.penalty(s, target, multipliers).backward()
    gap = sparsity - target
    assert s.grad.item() == pytest.approx(-1.5 + 2 * 3.0 * gap)
    assert multipliers.grad.tolist() == pytest.approx([gap, gap**2])


@pytest.mark.parametrize("target", [0.9, 0.3])
def test_ascending_multipliers_push_the_sparsity_to_the_target(target):
    """Below it the first multiplier falls, and so the loss falls with more sparsity; and above."""
    s = torch.tensor(0.6, requires_grad=True)
    multipliers = torch.zeros(2, requires_grad=True)
    ascent = torch.optim.SGD([multipliers], lr=1.0, maximize=True)
    lagrangian.penalty(s, target, multipliers).backward()
    assert s.grad.item() == 0  # multipliers of 0 say nothing yet
    ascent.step()
    assert math.copysign(1, multipliers[0].item()) == math.copysign(1, 0.6 - target)
    assert multipliers[1].item() > 0
    s.grad = None
    lagrangian.penalty(s, target, multipliers).backward()
    downhill = -s.grad.item()
    assert downhill * (target - 0.6) > 0


@pytest.mark.parametrize("schedule", ["linear", "logarithmic"])
def test_a_target_starts_at_0_rises_and_stays(schedule):
    values = [lagrangian.target_at(step, 0.96, 50, schedule) for step in range(70)]
    assert values[0] == 0
    assert all(a < b for a, b in itertools.pairwise(values[:51]))
    assert values[50:] == pytest.approx([0.96] * 20, rel=1e-15)


def test_their_shapes():
    linear = [lagrangian.target_at(step, 0.8, 4, "linear") for step in range(5)]
    assert linear == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    logarithmic = [lagrangian.target_at(step, 1 - 1 / 16, 4, "logarithmic") for step in range(5)]
    assert logarithmic == pytest.approx([0, 1 / 2, 3 / 4, 7 / 8, 15 / 16])


@pytest.mark.parametrize("schedule", ["linear", "logarithmic"])
def test_without_a_warm_up_the_target_is_there_at_once(schedule):
    assert lagrangian.target_at(0, 0.9, 0, schedule) == pytest.approx(0.9)


def test_a_linear_target_may_be_out_of_reach_and_a_logarithmic_one_may_not():
    assert lagrangian.target_at(5, 1.2, 10, "linear") == pytest.approx(0.6)
    assert lagrangian.target_at(10, 1.2, 10, "linear") == 1.2
    for target in (1.0, 1.2):
        with pytest.raises(ConfigError, match=f"below 1, not {target}: use 'linear'"):
            lagrangian.target_at(0, target, 10, "logarithmic")
