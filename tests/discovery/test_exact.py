"""Exact patching against removing each edge with `edgewise.run`, and EAP against it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
import toy
from edgewise.discovery import EAP, ExactPatching, discover
from edgewise.discovery.attribution import task_metric
from edgewise.models.model import Model
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare, reference_means
from edgewise.runs import RunFolder, read_config
from edgewise.stream import as_mask, run
from edgewise.suffix import Suffix
from edgewise.tasks import Task

TASK = toy.task(4)
METHOD = ExactPatching(density=1.0, order="value", batch_size=3)


def scores(model: Model, method: ExactPatching = METHOD, task: Task = TASK, **also) -> np.ndarray:
    return discover(model, task, method, **also).scores.values.astype(np.float64)


def asked(metric: str) -> Task:
    """Prompts that a metric can be taken of."""
    return toy.judged(4) if metric == "probability_difference" else TASK


def by_run(model: Model, metric: str, ablation: str, edges: range) -> np.ndarray:
    """M(full) - M(full without the edge), by the public `run` on whole prompts."""
    batch = asked(metric).batch("train", range(4))
    settings = {"ablation": ablation, "attention_mask": batch.attention_mask}
    if ablation == "interchange":
        settings["counterfactual_ids"] = batch.counterfactual_ids
    elif ablation == "mean":
        settings["reference"] = reference_means(model, TASK)

    def measured(mask: Tensor | None) -> float:
        logits = run(model, batch.input_ids, mask, **settings)[batch.rows, batch.cols]
        if metric == "kl":
            return -(kl_rows(full, logits) * batch.weights).sum().item()
        return task_metric(logits, batch, metric).mean().item()

    full = run(model, batch.input_ids, None, **settings)[batch.rows, batch.cols]
    found = []
    for edge in edges:
        mask = torch.ones(model.graph.n_edges)
        mask[edge] = 0
        found.append(measured(None) - measured(mask))
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "metric", "ablation"),
    [
        ("gpt2", "logit_difference", "interchange"),
        ("gpt2", "kl", "mean"),
        ("llama-gqa", "kl", "interchange"),
        ("llama-gqa", "probability_difference", "interchange"),
        ("post-norm-only", "logit_difference", "zero"),
    ],
)
def test_a_score_is_what_removing_the_edge_does(name, metric, ablation):
    model = tiny.model(name)
    method = replace(METHOD, metric=metric, trials=5)
    found = scores(model, method, asked(metric), ablation=ablation)
    edges = range(0, model.graph.n_edges, 4)
    expected = by_run(model, metric, ablation, edges)
    np.testing.assert_allclose(found[edges], expected, atol=2e-5)
    assert np.abs(expected).max() > 0.01


def test_eap_is_its_first_order():
    """Removing a share h of an edge has an effect of h times EAP's score, up to h squared."""
    model = tiny.model("gpt2", dtype=torch.float64)
    graph, mask = model.graph, as_mask(model, None)
    suffix = Suffix(prepare(model, TASK.batch("train", range(4))))
    first = scores(model, EAP(density=1.0, order="value"))
    worst = []
    for share in (2.0**-5, 2.0**-8):  # smaller, and float32 metrics round it away
        errors = []
        for reader in range(graph.n_readers):
            edges = list(graph.edges_into(reader))
            rows = mask[reader].repeat(len(edges) + 1, 1)
            rows[np.arange(len(edges)), graph.writer_of[edges]] -= share
            found = suffix.logits(mask, reader, rows)
            *without, full = [task_metric(each, suffix.ready.batch).mean() for each in found]
            effect = (full - torch.stack(without)) / share
            errors.append(np.abs(effect.numpy() - first[edges]).max())
        worst.append(max(errors) / np.abs(first).max())
    assert worst[1] < 2e-2
    assert worst[1] == pytest.approx(worst[0] / 8, rel=0.2)


def test_batches_and_trials_do_not_matter():
    model = tiny.model("gpt2-one-head")
    whole = scores(model)
    for changes in ({"batch_size": 1, "trials": 3}, {"batch_size": 100, "trials": 100}):
        np.testing.assert_allclose(scores(model, replace(METHOD, **changes)), whole, atol=1e-5)
    some = scores(model, replace(METHOD, prompts=4), toy.task(9))
    np.testing.assert_array_equal(some, whole)


def test_magnitude_ranks_by_the_absolute_value():
    model = tiny.model("gpt2")
    signed = scores(model)
    found = discover(model, TASK, ExactPatching(density=None, edges=10, batch_size=3))
    np.testing.assert_array_equal(found.scores.values, signed.astype(np.float32))
    assert set(np.flatnonzero(found.circuit.kept)) == set(np.argsort(-np.abs(signed))[:10])
    assert signed.min() < 0


class Stop(Exception):
    """An interruption."""


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path):
    model = tiny.model("gpt2")
    edges, whole = model.graph.n_edges, discover(model, TASK, METHOD, out=tmp_path / "whole")
    for at in (1, 22, edges - 10):

        def stop(record, at=at):
            if record["step"] >= at:
                raise Stop

        with pytest.raises(Stop):
            discover(model, TASK, METHOD, out=tmp_path / "run", progress=stop)
    found = discover(model, TASK, METHOD, out=tmp_path / "run")
    np.testing.assert_array_equal(found.scores.values, whole.scores.values)
    steps = [record["step"] for record in found.history]
    assert steps == [record["step"] for record in whole.history]
    assert steps[-1] == edges
    folder = RunFolder(tmp_path / "run", read_config(tmp_path / "run"))
    assert folder.records() == [dict(record) for record in found.history]
