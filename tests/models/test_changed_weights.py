"""A model whose weights are changed after it was adapted is the changed model."""

import copy

import pytest
import torch

import tiny
import toy
from edgewise.models.model import build
from edgewise.stream import run


def noise(shape, seed):
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_place(name, module, parameter, seed):
    parameter.add_(noise(parameter.shape, seed))


def through_data(name, module, parameter, seed):
    parameter.data += noise(parameter.shape, seed)  # seen by no version counter


def other_storage(name, module, parameter, seed):
    parameter.data = parameter.data + noise(parameter.shape, seed)


def other_parameter(name, module, parameter, seed):
    changed = torch.nn.Parameter(parameter + noise(parameter.shape, seed), requires_grad=False)
    setattr(module, name, changed)


WAYS = [in_place, through_data, other_storage, other_parameter]


@torch.no_grad()
def change(hf, way):
    """Moves every weight, biases and norms too; tied ones once."""
    for seed, (name, parameter) in enumerate(list(hf.named_parameters())):
        place, _, own = name.rpartition(".")
        way(own, hf.get_submodule(place), parameter, seed)
    hf.tie_weights()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["gpt2", "llama-mqa", "parallel"])
def test_runs_are_of_the_weights_there_are(name, way):
    model, given = toy.fresh(name), tiny.prompts("right")
    mask = tiny.random_mask(model)
    other = {"counterfactual_ids": given.corrupted, "attention_mask": given.mask}
    before = run(model, given.clean, mask, **other)
    change(model.hf, way)
    again = build(copy.deepcopy(model.hf), None, name, model.family, "joint")
    after = run(model, given.clean, mask, **other)
    assert tiny.relative(after, run(again, given.clean, mask, **other)) == 0
    assert tiny.relative(before, after) > 0.05
    whole = run(model, given.clean, **other)
    theirs = model.hf(given.clean, attention_mask=given.mask.long()).logits
    kept = given.mask[..., None]
    assert tiny.relative(whole * kept, theirs * kept) < 1e-5
