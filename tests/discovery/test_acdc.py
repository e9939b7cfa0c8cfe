"""ACDC against the loop that it is: one edge after another, a whole run for each."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import toy
from edgewise.discovery import ACDC, discover
from edgewise.discovery.acdc import leads_on, visits
from edgewise.discovery.memory import prompt_bytes
from edgewise.errors import NonFiniteError
from edgewise.graph import Graph
from edgewise.models.model import Model
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare, reference_means
from edgewise.runs import RunFolder, read_config
from edgewise.stream import as_mask

TASK = toy.task(5)
METHOD = ACDC(threshold=0.02, batch_size=3, trials=4)


def plain_loop(
    model: Model, threshold: float, seed: int = 0, ablation: str = "interchange"
) -> tuple[np.ndarray, np.ndarray]:
    """Kept edges, and every edge's rise of the KL."""
    reference = reference_means(model, TASK) if ablation == "mean" else None
    ready = prepare(model, TASK.batch("train", range(5)), ablation, reference)

    def kl(kept: np.ndarray) -> float:
        values = torch.tensor(kept, dtype=torch.float32)
        rows = kl_rows(ready.full, ready.logits(as_mask(model, values)))
        return (rows * ready.batch.weights).sum().item()

    kept, rises = np.ones(model.graph.n_edges, bool), np.zeros(model.graph.n_edges)
    now = kl(kept)
    for _, edges in visits(model.graph, seed):
        for edge in edges:
            kept[edge] = False
            found = kl(kept)
            rises[edge] = found - now
            kept[edge] = rises[edge] >= threshold
            now = now if kept[edge] else found
    return kept, rises


@pytest.mark.parametrize(
    ("name", "ablation", "threshold", "trials"),
    [
        ("gpt2", "interchange", 0.02, (1, 100)),
        ("gpt2-one-head", "interchange", 0.001, (2,)),
        ("gpt2", "mean", 0.001, (5,)),
        ("llama-gqa", "zero", 0.05, (8,)),
        ("parallel", "interchange", 0.02, (8,)),
        ("post-norm-only", "mean", 0.01, (8,)),
    ],
)
def test_the_circuit_is_the_plain_loop_s(name, ablation, threshold, trials):
    model = tiny.model(name)
    kept, rises = plain_loop(model, threshold, 3, ablation)
    assert 0.05 < kept.mean() < 0.95
    assert np.abs(rises - threshold).min() > 1e-6, "a tie that rounding decides: choose another"
    for number in trials:
        method = ACDC(threshold=threshold, batch_size=3, trials=number)
        found = discover(model, TASK, method, seed=3, ablation=ablation)
        np.testing.assert_array_equal(found.circuit.kept, kept)
        values = found.scores.values
        np.testing.assert_allclose(values, rises, atol=2e-6)
        assert values[kept].min() >= np.float32(threshold) > values[~kept].max()
        assert found.scores.top(len(found.circuit)) == found.circuit


@pytest.mark.parametrize("embeddings", ["split", "free"])
def test_embeddings(embeddings):
    model = tiny.model("gpt2-one-head", embeddings)
    found = discover(model, TASK, METHOD)
    np.testing.assert_array_equal(found.circuit.kept, plain_loop(model, 0.02)[0])


def test_prompts_are_the_first_of_the_split():
    model = tiny.model("gpt2-one-head")
    first = discover(model, TASK, METHOD)
    some = discover(model, toy.task(9), replace(METHOD, prompts=5))
    np.testing.assert_array_equal(some.scores.values, first.scores.values)


def test_a_budget_of_memory_cuts_the_prompts_and_changes_nothing():
    model = tiny.model("gpt2-one-head")
    whole = discover(model, TASK, METHOD)
    gigabytes = 1e-9 * prompt_bytes(model, 6, 2)
    cut = discover(model, TASK, METHOD, memory_gb=gigabytes)
    assert cut.circuit == whole.circuit
    np.testing.assert_allclose(cut.scores.values, whole.scores.values, atol=2e-6)


# Order


@pytest.mark.parametrize(
    "graph", [Graph(3, 4, 2), Graph(2, 3, 3, parallel=True, embeddings="split")], ids=str
)
def test_later_readers_come_first_and_later_writers(graph):
    seen = []
    for reader, edges in visits(graph, 0):
        assert set(graph.reader_of[edges]) == {reader}
        writers = graph.writer_of[edges]
        assert sorted(writers) == sorted(np.flatnonzero(graph.valid[reader]))
        layers = [layer_of(graph.writers[w]) for w in writers]
        assert layers == sorted(layers, reverse=True)
        seen.append(reader)
    layers = [layer_of(graph.readers[r]) for r in seen]
    assert layers == sorted(layers, reverse=True)
    assert sorted(seen) == sorted(set(graph.reader_of))


def layer_of(name: str) -> tuple[int, int]:
    """(layer, 0 for heads or 1 for an MLP) by name; the embedding first, the logits last."""
    if name in ("input", "tok", "pos"):
        return (-1, 0)
    return (99, 0) if name == "logits" else (int(name[1:].split(".")[0]), int(name[0] == "m"))


def test_the_seed_orders_heads():
    graph = Graph(2, 6, 6)
    orders = [[(r, tuple(edges)) for r, edges in visits(graph, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert [r for r, _ in orders[0]] != [r for r, _ in orders[2]]
    assert dict(orders[0])[graph.logits_reader] != dict(orders[2])[graph.logits_reader]


def test_the_circuit_depends_on_the_seed():
    found = [discover(tiny.model("gpt2"), TASK, METHOD, seed=seed).circuit for seed in (0, 1)]
    assert found[0] != found[1]


def test_readers_that_lead_nowhere():
    """Against what a change of such a reader's row does."""
    model = tiny.model("gpt2")
    graph = model.graph
    mask = as_mask(model, None)
    mask[graph.logits_reader, graph.mlp_writer(1)] = 0
    assert not leads_on(graph, mask, graph.mlp_reader(1))
    assert leads_on(graph, mask, graph.q_reader(1, 0))
    mask[graph.logits_reader, graph.head_writer(1, 0)] = 0
    assert not leads_on(graph, mask, graph.q_reader(1, 0))
    assert leads_on(graph, mask, graph.q_reader(1, 1))
    assert leads_on(graph, mask, graph.logits_reader)


# Thresholds


def test_a_high_threshold_removes_all_and_says_so():
    with pytest.warns(
        UserWarning, match=r"0 edges lies on a path.*: take a threshold below 1000000"
    ):
        found = discover(tiny.model("gpt2"), TASK, ACDC(threshold=1e6))
    assert len(found.circuit) == 0


def test_a_kl_that_is_no_number_is_refused():
    model = toy.fresh()
    model.hf.transformer.h[1].mlp.c_proj.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"into logits: the KL became NaN.*dtype='float32'"):
        discover(model, TASK, METHOD)


# Interruptions and records


class Stop(Exception):
    """An interruption."""


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path):
    model, whole = tiny.model("gpt2"), tmp_path / "whole"
    first = discover(model, TASK, METHOD, out=whole, seed=5)
    steps = [record["step"] for record in first.history]
    for at in (steps[0], steps[4], steps[5], steps[-1]):

        def stop(record, at=at):
            if record["step"] == at:
                raise Stop

        with pytest.raises(Stop):
            discover(model, TASK, METHOD, out=tmp_path / "broken", seed=5, progress=stop)
    found = discover(model, TASK, METHOD, out=tmp_path / "broken", seed=5)
    np.testing.assert_array_equal(found.scores.values, first.scores.values)
    assert found.circuit == first.circuit
    assert [timeless(record) for record in found.history] == [timeless(r) for r in first.history]
    seconds = [record["seconds"] for record in found.history]
    assert seconds == sorted(seconds)
    folder = RunFolder(whole, read_config(whole))
    assert folder.records() == [dict(record) for record in first.history]


def timeless(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "seconds"}


def test_every_reader_has_a_record():
    model, seen = tiny.model("gpt2"), []
    found = discover(model, TASK, METHOD, progress=seen.append)
    edges = model.graph.n_edges
    assert [r["step"] for r in seen] == np.cumsum(
        [len(e) for _, e in visits(model.graph, 0)]
    ).tolist()
    assert {(record["phase"], record["steps"]) for record in seen} == {("pruning", edges)}
    kept = [record["edges"] for record in seen]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == len(found.circuit)
    assert all(record["density"] == record["edges"] / edges for record in seen)
    assert all(record["kl"] >= 0 and record["seconds_left"] >= 0 for record in seen)
    assert seen[-1]["seconds_left"] == 0
    assert found.seconds == seen[-1]["seconds"]
