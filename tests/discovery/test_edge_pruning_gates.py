"""Where gates begin, what they end as, and seeds."""

import numpy as np
import pytest
import torch

import tiny
from edgewise.discovery import EAP, EAPIG, discover
from edgewise.ops import gates
from prunings import EVERY, TASK, pruning, saved


def test_an_open_start_is_a_normal_around_its_mean(tmp_path):
    method = pruning(**EVERY | {"init_log_alpha": 10.0}, lr=0.0, lr_multiplier=0.0, steps=1)
    discover(tiny.model("gpt2-scaled"), TASK, method, out=tmp_path)
    tensors = saved(tmp_path, 1)
    both = torch.cat([tensors["value.0"], tensors["value.1"]])
    assert both.mean().item() == pytest.approx(10, abs=3e-3)
    assert both.std().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("init", [EAP, EAPIG])
def test_a_start_from_attribution_keeps_its_order(tmp_path, init):
    model = tiny.model("gpt2")
    method = pruning(lr=0.0, steps=1, spread=1.5, init=init.name, init_prompts=4, batch_size=3)
    discover(model, TASK, method, out=tmp_path)
    effect = discover(model, TASK, init(density=1.0, prompts=4, batch_size=3)).scores.values
    place = np.argsort(np.argsort(np.abs(effect), kind="stable"))
    share = (place + 0.5) / len(place)
    expected = 1.5 * np.log(share / (1 - share))
    np.testing.assert_allclose(saved(tmp_path, 1)["value.0"], expected, rtol=1e-4, atol=1e-5)


def test_scores_under_a_budget_are_the_log_odds(tmp_path):
    found = discover(tiny.model("gpt2"), TASK, pruning(), out=tmp_path)
    np.testing.assert_array_equal(found.scores.values, saved(tmp_path, 4)["value.0"])


@pytest.mark.parametrize("nodes", [False, True])
def test_scores_under_a_lagrangian_are_deterministic_gates(tmp_path, nodes):
    """Times their writers' gates; those at 0 are told apart by less than any gate that is not."""
    model = tiny.model("gpt2")
    method = pruning(**EVERY | {"nodes": nodes}, rounding="threshold", lr=0.5)
    found = discover(model, TASK, method, out=tmp_path)
    tensors = saved(tmp_path, 4)
    soft = gates.deterministic(tensors["value.0"]).numpy()
    if nodes:
        soft = soft * gates.deterministic(tensors["value.1"]).numpy()[model.graph.writer_of]
    np.testing.assert_allclose(found.scores.values, soft, atol=1.1e-6)
    assert 0 < (soft == 0).sum() < len(soft)
    assert found.scores.values[soft == 0].max() < found.scores.values[soft > 0].min()
    assert len(found.circuit) == round(float(soft.sum()))


# Seeds


def test_seeds():
    """The same seed gives the same bits, another one other noise and batches."""
    method = pruning(batch_size=2, noise=1.0)
    first, again, other = (
        discover(tiny.model("gpt2"), TASK, method, seed=seed).scores.values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
