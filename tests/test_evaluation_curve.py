"""The rows of a curve: the best edges at each density."""

import numpy as np
import pytest

import tiny
from edgewise.circuit import Circuit
from edgewise.curve import DENSITIES
from edgewise.errors import GraphError
from edgewise.evaluation import evaluate, measured
from edgewise.scores import EdgeScores
from test_evaluation import TASK, close, half


def test_the_curve_is_the_top_edges_at_each_density() -> None:
    model = tiny.model("gpt2")
    values = np.random.default_rng(0).normal(size=model.graph.n_edges).astype(np.float32)
    scores = EdgeScores(model.graph, values)
    for by in ("value", "magnitude"):
        report = evaluate(
            model, TASK, half(model), scores=scores, densities=(1, 0.1, 0.5), by=by, batch_size=6
        )
        assert report.order == by
        tops = {str(d): scores.top(int(d * model.graph.n_edges), by) for d in (0.1, 0.5, 1)}
        rows = evaluate(model, TASK, half(model), baselines=tops).rows
        for point, (label, circuit) in zip(report.curve, tops.items(), strict=True):
            assert (point.edges, point.edges_alive) == (len(circuit), circuit.alive.sum())
            assert point.density == circuit.density
            assert {m: e.mean for m, e in point.metrics.items()} == close(
                {m: e.mean for m, e in rows[label].metrics.items()}
            )
            assert point.metrics["kl"].low == pytest.approx(rows[label].metrics["kl"].low, abs=1e-5)
        assert list(report.curves) == [by]
        (last,) = report.faithfulness_at((1,), "logit_difference", by)
        assert last == pytest.approx(1)


def test_the_curve_is_in_the_scores_own_order_unless_told_otherwise() -> None:
    model = tiny.model("gpt2")
    values = np.random.default_rng(0).normal(size=model.graph.n_edges).astype(np.float32)
    scores = EdgeScores(model.graph, values, order="magnitude")
    report = evaluate(model, TASK, half(model), scores=scores, densities=(0.1,))
    assert report.order == "magnitude"
    (row,) = measured(model, TASK, [scores.top(report.curve[0].edges)])
    assert row.metrics["kl"] == report.curve[0].metrics["kl"]


def test_rows_of_several_circuits_are_those_of_each() -> None:
    model = tiny.model("llama-gqa")
    circuits = [half(model), Circuit.empty(model.graph), half(model)]
    rows = measured(model, TASK, circuits, batch_size=4)
    assert rows[0] == rows[2]
    report = evaluate(model, TASK, half(model), batch_size=4)
    assert rows[:2] == (report.rows["circuit"], report.rows["empty"])
    with pytest.raises(GraphError, match="circuit 1 is of"):
        measured(model, TASK, [half(model), Circuit.empty(tiny.model("gpt2").graph)])


def test_densities_of_as_many_edges_are_one_point() -> None:
    model = tiny.model("gpt2")
    scores = EdgeScores(model.graph, np.arange(model.graph.n_edges, dtype=np.float32))
    report = evaluate(model, TASK, half(model), scores=scores)
    sizes = [point.edges for point in report.curve]
    assert sizes == sorted({int(d * model.graph.n_edges) for d in DENSITIES} - {0})
    assert evaluate(model, TASK, half(model), scores=scores, densities=()).curve == ()
    assert evaluate(model, TASK, half(model)).curve == ()
