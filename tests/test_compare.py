"""Comparisons worked out by hand."""

import json
from dataclasses import replace

import pytest

from edgewise.circuit import Circuit
from edgewise.compare import Comparison, compare
from edgewise.errors import DataError
from edgewise.estimate import Estimate
from edgewise.graph import Graph
from edgewise.report import Report, Row

GRAPH = Graph(1, 1, 1)  # 8 edges
FIRST = Circuit.of(GRAPH, ["input->m0", "m0->logits", "a0.h0->logits"])  # no path through a0.h0
SECOND = Circuit.of(GRAPH, ["input->m0", "m0->logits", "input->logits", "input->a0.h0<v>"])
OTHER = Circuit.full(Graph(1, 2, 1))


def report(circuit: Circuit, kl: float, **changes: str) -> Report:
    values = {"kl": kl, "exact_match": 0.75, "accuracy": 0.5}
    metrics = {name: Estimate(value, value, value) for name, value in values.items()}
    row = Row(len(circuit), int(circuit.alive.sum()), circuit.density, metrics)
    given = {"model": "tiny", "task": "toy", "split": "test", "ablation": "zero", **changes}
    return Report(**given, n_prompts=4, n_edges=circuit.graph.n_edges, rows={"circuit": row})


CIRCUITS = {"runs/a": FIRST, "b": SECOND}
REPORTS = {"runs/a": report(FIRST, 0.25), "b": report(SECOND, 1.5)}

TEXT = """\
        edges  alive  density     KL  exact match  accuracy  seconds
runs/a      3      2    37.5%  0.250        0.750     0.500    2,756
b           4      3      50%  1.500        0.750     0.500        -

overlap: edges in both above the diagonal, in both / in either below it
        runs/a  b
runs/a       3  2
b        0.400  4

runs/a and b share 2 edges, 1.33 times what chance would give (p = 0.5)"""


def test_two_runs_as_text():
    # Of 3 and 4 edges in 8 chance expects 3 * 4 / 8; P(2 or 3 shared) = (6 * 4 + 4 * 1) / 56
    found = compare(REPORTS, CIRCUITS, {"runs/a": 2756.4})
    assert str(found) == TEXT


def test_lines_are_in_the_order_of_circuits_and_then_of_other_reports():
    circuits = {"none": FIRST, "b": SECOND, "runs/a": FIRST}
    found = compare({"last": report(OTHER, 0.0), **REPORTS}, circuits)
    assert list(found.lines) == ["none", "b", "runs/a", "last"]


def test_two_runs_as_data():
    found = compare(REPORTS, CIRCUITS, {"runs/a": 2756.4})
    data = found.to_json()
    assert data == json.loads(json.dumps(data, allow_nan=False))
    assert data["runs"]["runs/a"]["metrics"]["kl"] == 0.25
    assert data["runs"]["runs/a"]["seconds"] == 2756.4
    assert data["runs"]["b"]["seconds"] is None
    (pair,) = data["overlaps"]
    assert pair.pop("p_value") == pytest.approx(0.5)
    assert pair.pop("times_chance") == pytest.approx(4 / 3)
    expected = {"intersection": 2, "union": 5, "expected": 1.5, "iou": 0.4}
    assert pair == {"runs": ["runs/a", "b"], **expected}
    assert data["differing"] == []


def test_more_runs_have_their_chances_in_a_matrix():
    # Of 3, 4 and 8 edges in 8 chance expects 3 * 4 / 8, 3 * 8 / 8 and 4 * 8 / 8 in both; sharing
    # all of a circuit with the whole graph is certain.
    found = compare({}, {"a": FIRST, "b": SECOND, "all": Circuit.full(GRAPH)})
    _, shared, chance = str(found).split("\n\n")
    assert [line.split() for line in shared.splitlines()[1:]] == [
        ["a", "b", "all"],
        ["a", "3", "2", "3"],
        ["b", "0.400", "4", "4"],
        ["all", "0.375", "0.500", "8"],
    ]
    assert [line.split() for line in chance.splitlines()[1:]] == [
        ["a", "b", "all"],
        ["a", "3", "1.5", "3"],
        ["b", "0.5", "4", "4"],
        ["all", "1", "1", "8"],
    ]
    assert "p-value below" in chance


def test_memory_is_a_column_where_it_is_known():
    found = compare(REPORTS, CIRCUITS, {"runs/a": 2756.4}, {"b": 1_234_000_000})
    rows = [line.split() for line in str(found).splitlines()[:3]]
    assert rows[0][-2:] == ["seconds", "memory"]
    assert rows[1][-2:] == ["2,756", "-"]
    assert rows[2][-3:] == ["-", "1.23", "GB"]
    runs = found.to_json()["runs"]
    assert [runs[name]["peak_bytes"] for name in ("runs/a", "b")] == [None, 1_234_000_000]


def test_reports_of_different_things_say_so():
    reports = {**REPORTS, "b": report(SECOND, 1.5, task="other", ablation="mean")}
    found = compare(reports)
    assert found.differing == ("task", "ablation")
    lines = str(found).splitlines()
    assert lines[0].split()[:2] == ["task", "ablation"]
    assert lines[2].split()[:3] == ["b", "other", "mean"]
    assert "the reports differ in task, ablation" in str(found)
    assert "overlap" not in str(found)


def test_a_run_without_a_report_and_one_without_a_circuit():
    found = compare({"b": REPORTS["b"]}, {"runs/a": FIRST})
    assert list(found.lines) == ["runs/a", "b"]
    assert (found.lines["runs/a"].edges, found.lines["runs/a"].edges_alive) == (3, 2)
    assert found.lines["runs/a"].metrics == {}
    assert found.overlaps == {}
    assert str(found).splitlines()[1].split() == ["runs/a", "3", "2", "37.5%", "-", "-", "-"]
    bare = compare({}, CIRCUITS)
    assert str(bare).splitlines()[0].split() == ["edges", "alive", "density"]


def test_circuits_of_other_graphs_share_no_matrix_cell():
    third = Circuit.full(OTHER.graph) - Circuit.of(OTHER.graph, ["input->m0"])
    found = compare({}, {**CIRCUITS, "wide": OTHER, "most": third})
    assert set(found.overlaps) == {("runs/a", "b"), ("wide", "most")}
    shared, chance = (str(found).splitlines()[i:][:5] for i in (-12, -5))
    for matrix in (shared, chance):
        assert matrix[0].split() == ["runs/a", "b", "wide", "most"]
        assert matrix[4].split()[:3] == ["most", "-", "-"]
    assert shared[1].split() == ["runs/a", "3", "2", "-", "-"]
    assert chance[1].split() == ["runs/a", "3", "1.5", "-", "-"]
    apart = str(compare({}, {"a": FIRST, "wide": OTHER}))
    assert "overlap" not in apart
    assert apart.endswith("\n\ncircuits of different graphs aren't compared edge by edge")
    assert "circuits of different graphs" in str(found)
    assert "circuits of different graphs" not in str(compare({}, CIRCUITS))


def test_an_empty_circuit_has_nothing_to_expect():
    found = compare({}, {"a": Circuit.empty(GRAPH), "b": FIRST})
    assert found.to_json()["overlaps"][0]["times_chance"] is None
    assert str(found).endswith("a and b share 0 edges (p = 1)")


def test_what_can_t_be_compared():
    with pytest.raises(DataError, match="nothing to compare"):
        compare({})
    with pytest.raises(DataError, match="b: the report is of 4 of 8 edges, the circuit has 3 of 8"):
        compare(REPORTS, {"b": FIRST})


def test_metrics_that_no_run_has_take_no_column():
    row = REPORTS["b"].rows["circuit"]
    bare = replace(REPORTS["b"], rows={"circuit": replace(row, metrics={"kl": Estimate(1, 1, 1)})})
    found = compare({"b": bare})
    assert isinstance(found, Comparison)
    assert str(found).splitlines()[0].split() == ["edges", "alive", "density", "KL"]
