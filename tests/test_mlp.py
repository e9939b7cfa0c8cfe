"""MLPs a slice of tokens at a time, against the whole at once."""

import pytest
import torch
from transformers.activations import GELUTanh, NewGELUActivation

import tiny
from edgewise import mlp

N = 11


@pytest.mark.parametrize("most", [1, 4, N, 100])
@pytest.mark.parametrize("name", [n for n in tiny.MODELS if n not in tiny.FLOAT32_ONLY])
def test_slices_are_the_whole(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "TOKENS", most)
    model = tiny.model(name, dtype=torch.float64)
    block = model.blocks[0]
    generator = torch.Generator().manual_seed(0)
    x, dwrite = torch.randn(2, N, model.width, generator=generator, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    whole = block.mlp_write(leaf)
    (expected,) = torch.autograd.grad(whole, leaf, dwrite)
    write, graph = mlp.mlp_write(block, x), mlp.mlp_graph(block, x.clone())
    torch.testing.assert_close(write, whole.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(graph[0].detach(), whole.detach())
    found = mlp.mlp_backward(block, x, dwrite)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_slices_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    block, seen = tiny.model("gpt2").blocks[0], []
    write = type(block).mlp_write
    monkeypatch.setattr(
        type(block), "mlp_write", lambda self, x: seen.append(len(x)) or write(self, x)
    )
    for most, expected in ((5, [4, 4, 3]), (6, [6, 5]), (N, [N]), (1, [1] * N)):
        monkeypatch.setattr(mlp, "TOKENS", most)
        seen.clear()
        mlp.mlp_write(block, torch.zeros(N, 15))
        assert seen == expected


def test_gelu_is_one_operation_and_the_model_keeps_its_own() -> None:
    model = tiny.model("gpt2")
    ours = [type(part) for block in model.blocks.parts for part in block.mlp[0].modules()]
    theirs = [type(part) for part in model.hf.modules()]
    assert (ours.count(GELUTanh), ours.count(NewGELUActivation)) == (model.graph.n_layers, 0)
    assert (theirs.count(GELUTanh), theirs.count(NewGELUActivation)) == (0, model.graph.n_layers)
