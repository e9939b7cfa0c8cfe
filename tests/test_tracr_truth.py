"""Known circuits: what is true of them, and that Edge Pruning finds them."""

from functools import cache

import numpy as np
import pytest
import torch

import edgewise
import oracle
from edgewise import tracr
from edgewise.adapt import adapt
from edgewise.circuit import Circuit
from edgewise.errors import ModelError
from edgewise.graph import Graph
from edgewise.models.tracr import TracrConfig, TracrForCausalLM
from edgewise.tasks import Example, Task
from edgewise.tracr.programs import FREQUENCY, HISTOGRAM
from programs import compiled

each_program = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == FREQUENCY.name else ())
        for name in tracr.PROGRAMS
    ],
)
each_published = pytest.mark.parametrize(
    ("name", "edges", "true"), [("reverse", 94, 11), ("xproportion", 32, 7)]
)


@cache
def truth(name: str) -> Circuit:
    return tracr.truth(compiled(name))


def answers(case: tracr.Compiled, circuit: Circuit | None) -> torch.Tensor:
    """What every sequence is answered with, where it counts; None is the full model."""
    ids = case.task.batch("test", range(len(case.program.sequences))).input_ids
    logits = edgewise.run(case.model, ids, circuit, ablation="zero")
    return logits[:, case.program.first :].argmax(-1)


def without(kept: np.ndarray, edge: int) -> np.ndarray:
    return kept & (np.arange(len(kept)) != edge)


# The truth


@each_published
def test_the_published_circuit_follows_from_the_weights(name: str, edges: int, true: int) -> None:
    found = truth(name)
    assert (found.graph.n_edges, len(found)) == (edges, true)
    assert set(found.edges) == set(compiled(name).program.circuit)


@each_program
def test_a_true_circuit_is_exact_and_needs_every_edge(name: str) -> None:
    case, true = compiled(name), truth(name)
    full = answers(case, None)
    assert torch.equal(answers(case, true), full)
    for edge in np.flatnonzero(true.kept):
        less = Circuit(true.graph, without(true.kept, edge))
        assert not torch.equal(answers(case, less), full), true.graph.name(int(edge))


@each_program
def test_there_is_no_other(name: str) -> None:
    """Edges removed one after another, in any order, while the circuit is exact, leave the same."""
    case = compiled(name)
    for seed in range(2):
        kept = np.ones(case.model.graph.n_edges, bool)
        for edge in np.random.default_rng(seed).permutation(len(kept)):
            kept[edge] = False
            kept[edge] = not tracr.exact(case, Circuit(case.model.graph, kept))
        assert Circuit(case.model.graph, kept) == truth(name)


def test_the_slow_definition_agrees() -> None:
    """Every edge of the histogram, through hooks on the model in place of the engine."""
    case = compiled(HISTOGRAM.name)
    graph, ids = case.model.graph, case.everything.batch.input_ids
    setting = oracle.Setting(case.model.hf, case.model.family, graph)
    nothing = oracle.nothing(setting, ids)

    def slowly(kept: np.ndarray) -> torch.Tensor:
        mask = torch.from_numpy(graph.dense(kept).astype(np.float32))
        return oracle.run(setting, mask, ids, nothing).logits[:, case.program.first :].argmax(-1)

    full, edges = np.ones(graph.n_edges, bool), range(graph.n_edges)
    needed = [not torch.equal(slowly(without(full, edge)), slowly(full)) for edge in edges]
    assert Circuit(graph, np.array(needed)) == truth(HISTOGRAM.name)


def test_two_ways_to_one_answer_are_no_truth() -> None:
    """The embedding writes the answer, and the MLP writes it again: either edge will do."""
    hf = TracrForCausalLM(TracrConfig(vocab_size=3, hidden_size=3, intermediate_size=3))
    for parameter in hf.parameters():
        parameter.data.zero_()
    for part in (hf.transformer.tokens, *hf.transformer.layers[0].mlp[::2], hf.unembed):
        part.weight.data.copy_(torch.eye(3))
    examples = tuple(Example((token,), (token,), (0,), (token,)) for token in range(3))
    program = tracr.Program("twice", (0, 1, 2), 1, lambda rasp, _: rasp.tokens, first=0)
    model = adapt(hf, embeddings="split", check=False)
    case = tracr.Compiled(program, None, model, Task("twice", {"test": examples}, 0), (0, 1, 2))
    for edges in (["tok->logits"], ["tok->m0", "m0->logits"]):
        circuit = Circuit.of(model.graph, edges)
        assert tracr.exact(case, circuit)
        assert tracr.needed(case, circuit) == circuit
    with pytest.raises(ModelError, match=r"twice: the 0 edges .* there are several"):
        tracr.truth(case)


# What is found


def test_precision_and_recall() -> None:
    graph = Graph(1, 1, 1)
    true = Circuit.of(graph, ["input->m0", "m0->logits", "input->logits"])
    found = Circuit.of(graph, ["input->m0", "a0.h0->m0"])
    assert tracr.precision(found, true) == 1 / 2
    assert tracr.recall(found, true) == 1 / 3
    assert tracr.precision(Circuit.empty(graph), true) == 1


def recovered(name: str, seed: int) -> Circuit:
    case = compiled(name)
    method = tracr.edge_pruning(len(case.program.circuit))
    found = edgewise.discover(case.model, case.task, method, ablation="zero", seed=seed)
    return found.circuit


@each_published
def test_edge_pruning_finds_the_published_circuit(name: str, edges: int, true: int) -> None:
    assert set(recovered(name, seed=0).edges) == set(compiled(name).program.circuit)


@pytest.mark.slow
@each_published
def test_edge_pruning_finds_it_in_ten_of_ten_seeds(name: str, edges: int, true: int) -> None:
    for seed in range(10):
        assert set(recovered(name, seed).edges) == set(compiled(name).program.circuit), seed
