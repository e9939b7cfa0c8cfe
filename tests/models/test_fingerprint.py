"""A fingerprint is the weights' own: nothing else moves it, and any change of them does."""

import pytest
import torch
from torch import nn

import tiny_files
from edgewise.models.fingerprint import CHUNK, weights_fingerprint


def test_equal_weights_have_equal_fingerprints() -> None:
    first, again = weights_fingerprint(tiny_files.llama()), weights_fingerprint(tiny_files.llama())
    assert first == again
    assert len(first) == 64
    assert int(first, 16)
    assert first != weights_fingerprint(tiny_files.llama(seed=1))


@pytest.mark.parametrize("change", ["dtype", "name", "shape", "one bit", "swap"])
def test_every_change_shows(change: str) -> None:
    model = nn.Sequential(nn.Linear(64, 64))
    before = weights_fingerprint(model)
    weight = model[0].weight.data
    if change == "dtype":
        model.to(torch.float64)
    elif change == "name":
        model = nn.Sequential(nn.Identity(), model[0])
    elif change == "shape":
        model[0].weight.data = weight.reshape(32, 128)
    elif change == "one bit":
        weight.view(torch.int32)[3, 5] ^= 1
    else:  # of two sampled elements: the sum stays
        weight[0, 0], weight[1, 0] = weight[1, 0].clone(), weight[0, 0].clone()
    assert weights_fingerprint(model) != before


def test_dtypes_layouts_and_sizes() -> None:
    module = nn.Module()
    values = torch.randn(6, 4)
    for i, dtype in enumerate(
        [torch.bfloat16, torch.float64, torch.bool, torch.int8, torch.cfloat]
    ):
        module.register_buffer(f"b{i}", values.to(dtype))
    module.register_buffer("scalar", torch.tensor(1.0))
    module.register_buffer("empty", torch.zeros(0, 3))
    first = weights_fingerprint(module)
    module.b0 = module.b0.t().contiguous().t()  # another layout in memory
    assert weights_fingerprint(module) == first


def test_sum_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(100, 100)
    whole = weights_fingerprint(model)
    assert CHUNK > 100
    monkeypatch.setattr("edgewise.models.fingerprint.CHUNK", 77)
    assert weights_fingerprint(model) == whole
