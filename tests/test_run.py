"""`run`: masks in any form, what it leaves behind, what it refuses."""

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
import tiny
from edgewise import ablation, stream
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, DataError, GraphError
from edgewise.graph import Graph
from edgewise.scores import EdgeScores
from edgewise.workspace import Workspace
from test_stream import each_kind, full_mask
from unchecked import unchecked


def test_run_takes_any_form_of_mask() -> None:
    for embeddings in ("joint", "free"):
        model, given = tiny.model("gpt2", embeddings), tiny.prompts()
        graph = model.graph
        circuit = Circuit.random(graph, graph.n_edges // 2, seed=0)
        values = circuit.kept.astype(np.float32)
        forms = [
            circuit,
            EdgeScores(graph, values),
            torch.from_numpy(values),
            torch.from_numpy(graph.dense(values)),
        ]
        logits = [
            stream.run(model, given.clean, form, counterfactual_ids=given.corrupted)
            for form in forms
        ]
        assert all(torch.equal(logits[0], other) for other in logits[1:])
        assert logits[0].shape == (*given.clean.shape, tiny.VOCABULARY)
        own = oracle.forward(model.hf, given.clean, None)
        for everything in (None, Circuit.full(graph)):
            found = stream.run(model, given.clean, everything, counterfactual_ids=given.corrupted)
            assert tiny.relative(found, own) < 1e-5


def test_dense_mask_is_the_graph_s() -> None:
    for embeddings in ("joint", "split", "free"):
        graph = Graph(2, 4, 2, embeddings=embeddings)
        values = torch.rand(graph.n_edges, dtype=torch.float64).requires_grad_()
        matrix = stream.dense_mask(graph, values)
        np.testing.assert_array_equal(matrix.detach(), graph.dense(values.detach().numpy()))
        matrix.sum().backward()
        assert (values.grad == 1).all()


def test_run_leaves_no_graph_behind() -> None:
    model, given = tiny.model("gpt2"), tiny.prompts()
    mask = tiny.random_mask(model).requires_grad_()
    logits = stream.run(model, given.clean, mask, counterfactual_ids=given.corrupted)
    assert not logits.requires_grad


def test_what_run_refuses() -> None:
    model, given = tiny.model("gpt2"), tiny.prompts("right")
    other = Graph(3, 3, 3)
    ids, pair = given.clean, {"counterfactual_ids": given.corrupted}
    for circuit in (Circuit.full(other), EdgeScores(other, np.ones(other.n_edges, np.float32))):
        with pytest.raises(GraphError, match="the circuit is of Graph"):
            stream.run(model, ids, circuit, **pair)
    for shape in ((4,), (2, 3)):
        with pytest.raises(GraphError, match=r"a mask has shape \(\d+,\) or \(\d+, \d+\), not"):
            stream.run(model, ids, torch.ones(shape), **pair)
    outer = model.outer(ids)
    zero = ablation.zero(model, outer)
    with pytest.raises(GraphError, match=r"a mask of this model is \(readers, writers\)"):
        stream.masked_read(model, torch.ones(2, 2), outer, zero)
    with unchecked():
        with pytest.raises(DataError, match=r"counterfactual_ids has shape \(3, 4\), input_ids"):
            stream.run(model, ids, counterfactual_ids=given.corrupted[:, :4])
        with pytest.raises(DataError, match="attention_mask has shape"):
            stream.run(model, ids, **pair, attention_mask=given.mask[:2])
        with pytest.raises(DataError, match=r"input_ids must be \(B, T\), not \(5,\)"):
            stream.run(model, ids[0], counterfactual_ids=given.corrupted[0])
        for odd, kind in ((ids.tolist(), "a list"), (ids.float(), "torch.float32")):
            with pytest.raises(DataError, match=f"^input_ids must be .*, not {kind}: type torch"):
                stream.run(model, odd, **pair)
            with pytest.raises(DataError, match=f"^counterfactual_ids must be .*, not {kind}: "):
                stream.run(model, ids, counterfactual_ids=odd)
        with pytest.raises(ConfigError, match=r"type edgewise\.Circuit\.load\('runs/ioi'\)"):
            stream.run(model, ids, "runs/ioi", **pair)
        with pytest.raises(ConfigError, match="GPT2LMHeadModel, not an edgewise Model"):
            stream.run(model.hf, ids, **pair)
    with pytest.raises(ConfigError, match="needs counterfactual_ids"):
        stream.run(model, ids)
    with pytest.raises(ConfigError, match="needs reference means"):
        stream.run(model, ids, ablation="mean")


@each_kind
def test_an_ablated_run_is_used_once_unless_it_is_held(kind: str) -> None:
    model, given = tiny.model("llama-gqa"), tiny.prompts()
    run, _ = tiny.ablated(model, kind, given, with_oracle=False)
    tiny.engine_logits(model, full_mask(model), given, run)
    with pytest.raises(RuntimeError, match=r"was used already.*make another one, or hold"):
        tiny.engine_logits(model, full_mask(model), given, run)

    begun, _ = tiny.ablated(model, kind, given, with_oracle=False)
    next(iter(begun.layers))
    with pytest.raises(RuntimeError, match="was used already"):
        tiny.engine_logits(model, full_mask(model), given, begun)


def test_a_masked_run_goes_backward_once() -> None:
    model, given = tiny.model("llama-gqa"), tiny.prompts()
    run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    mask = full_mask(model).requires_grad_()
    logits = tiny.engine_logits(model, mask, given, run)
    logits.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"went backward already.*run it forward again"):
        logits.square().sum().backward()


@pytest.mark.parametrize("live", [False, True], ids=["all", "live"])
def test_a_workspace_changes_nothing(live: bool) -> None:
    """Neither where it was used before, nor while another run that uses it has to go backward."""
    model, space = tiny.model("llama-gqa"), Workspace()

    def begun(seed: int, workspace: Workspace | None) -> tuple[Tensor, Tensor]:
        given = tiny.prompts(seed=seed)
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        outer = model.outer(given.clean, given.mask)
        mask = tiny.random_mask(model, seed).requires_grad_()
        at = torch.tensor([4, 9])
        return mask, stream.masked_read(model, mask, outer, run, at, live, workspace)

    def gradient(mask: Tensor, seen: Tensor) -> Tensor:
        return torch.autograd.grad(seen.square().sum(), mask)[0]

    expected = [gradient(*begun(seed, None)) for seed in (3, 4)]
    first, second = begun(3, space), begun(4, space)
    assert torch.equal(gradient(*second), expected[1])
    assert torch.equal(gradient(*first), expected[0])
    assert torch.equal(gradient(*begun(4, space)), expected[1])
