"""Who keeps weights elsewhere is asked for a block each time before it is used."""

from dataclasses import replace

import pytest
import torch

import tiny
from edgewise.models.blocks import Blocks
from edgewise.models.model import Model
from edgewise.prepared import prepare
from edgewise.stream import as_mask
from edgewise.tasks.example import Batch, Example, collate


class Away:
    """Keeps the weights of all blocks but the one that was taken as NaN."""

    def __init__(self, model: Model):
        self.there = [dict(part.module.named_parameters()) for part in model.blocks.parts]
        self.values = [{n: p.data for n, p in block.items()} for block in self.there]
        self.taken: list[int] = []
        self.give_all(None)

    def give_all(self, number: int | None) -> None:
        for other, (block, values) in enumerate(zip(self.there, self.values, strict=True)):
            for name, parameter in block.items():
                gone = other != number and parameter.ndim > 1  # as for a norm in `Model.outer`
                parameter.data = torch.full_like(parameter, torch.nan) if gone else values[name]

    def take(self, number: int) -> None:
        if self.taken[-1:] != [number]:
            self.give_all(number)
            self.taken.append(number)


def batch() -> Batch:
    return collate(
        [Example((1, 2, 3), (4, 5, 6), (2,), (7,)), Example((8, 9), (3, 1), (1,), (2,))], 0
    )


def gradient(model: Model, ablation: str) -> torch.Tensor:
    mask = as_mask(model, tiny.random_mask(model)).requires_grad_()
    prepare(model, batch(), ablation).logits(mask).square().sum().backward()
    return mask.grad


@pytest.mark.parametrize("ablation", ["interchange", "zero"])
@pytest.mark.parametrize("name", ["gpt2-scaled", "llama-rope", "parallel", "post-norm"])
def test_weights_are_asked_for_before_they_are_used(name, ablation):
    family, make = tiny.MODELS[name]
    whole = tiny.model(name)
    model = tiny.build(make(), None, name, family, "joint")
    keeper = Away(model)
    model = replace(model, blocks=Blocks(model.blocks.parts, keeper))
    found = gradient(model, ablation)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found, gradient(whole, ablation), rtol=0, atol=0)
    last = model.graph.n_layers - 1
    assert set(keeper.taken) == set(range(last + 1))
    assert keeper.taken[-last - 1 :] == list(range(last, -1, -1))  # the backward pass
    jumps = [abs(b - a) for a, b in zip(keeper.taken, keeper.taken[1:], strict=False)]
    assert all(jump in (1, last) for jump in jumps)


def test_they_are_a_sequence():
    model = tiny.model("gpt2")
    assert len(model.blocks) == 2
    assert model.blocks[-1] is model.blocks.parts[1]
    assert list(model.blocks) == list(model.blocks.parts)
    with pytest.raises(IndexError):
        model.blocks[2]
