"""A budget of memory cuts batches into pieces and changes nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

import tiny
import toy
from edgewise.discovery import EAPIG, EdgePruning, discover
from edgewise.discovery.memory import prompt_bytes, prompts_within
from edgewise.errors import ConfigError
from edgewise.runs import read_config

TASK = toy.task(5)  # of unequal lengths, one or two answers each
LONGEST = max(len(example.clean) for example in TASK.examples("train"))
BUDGET = EdgePruning(
    density=0.4, steps=1, batch_size=5, noise=1.0, temperature=2.0, precision="model"
)
LAGRANGIAN = replace(
    BUDGET,
    control="lagrangian",
    noise=0.0,
    temperature=1.0,
    init="open",
    init_log_alpha=0.5,
    nodes=True,
    lr=0.5,
)


def memory(model, prompts):
    """GB that so many prompts take."""
    return 1e-9 * (prompts + 0.5) * prompt_bytes(model, LONGEST, 2)


@pytest.mark.parametrize("ablation", ["interchange", "mean", "zero"])
@pytest.mark.parametrize("method", [BUDGET, LAGRANGIAN], ids=["budget", "lagrangian"])
def test_pieces_have_the_gradient_of_the_whole(method, ablation, tmp_path):
    """Of 5, of 2 and 3, of 1, 2 and 2, and of one prompt each; Adam's first moment tells."""
    model = tiny.model("gpt2", dtype=torch.float64)
    found = {}
    for prompts in (None, 5, 3, 2, 1):
        out = tmp_path / str(prompts)
        given = None if prompts is None else memory(model, prompts)
        discover(model, TASK, method, out=out, ablation=ablation, memory_gb=given)
        saved = safetensors.torch.load_file(out / "checkpoint" / "1.safetensors")
        found[prompts] = torch.cat([saved[name] for name in sorted(saved) if "exp_avg." in name])
    whole = found.pop(None)
    assert whole.abs().max() > 1e-4
    torch.testing.assert_close(found.pop(5), whole, rtol=0, atol=0)
    for gradient in found.values():
        torch.testing.assert_close(gradient, whole, rtol=1e-4, atol=1e-7)
    assert not torch.equal(found[1], whole)  # it was cut


def test_attribution_is_cut_too():
    model, method = tiny.model("llama-gqa"), EAPIG(density=0.4, steps=2)
    seen, whole = [], discover(model, TASK, method)
    found = discover(
        model, TASK, method, memory_gb=memory(model, 2), progress=lambda r: seen.append(r["step"])
    )
    assert seen == [2, 3, 5]
    np.testing.assert_allclose(found.scores.values, whole.scores.values, rtol=1e-3, atol=1e-5)


def test_a_run_goes_on_with_other_memory(tmp_path):
    model, method = tiny.model("gpt2"), replace(BUDGET, steps=4, checkpoint_every=2)

    def stop(record):
        if record["phase"] == "training" and record["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discover(model, TASK, method, out=tmp_path, memory_gb=memory(model, 1), progress=stop)
    found = discover(model, TASK, method, out=tmp_path)
    assert len(found.history) == 4
    assert "memory_gb" not in str(read_config(tmp_path))


def test_too_little():
    model = tiny.model("gpt2")
    assert prompts_within(model, TASK, memory(model, 3)) == 3
    with pytest.raises(ConfigError, match=f"one prompt of {LONGEST} tokens takes about"):
        discover(model, TASK, BUDGET, memory_gb=memory(model, -0.1))
    for given in (0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="it must be above 0"):
            discover(model, TASK, BUDGET, memory_gb=given)
