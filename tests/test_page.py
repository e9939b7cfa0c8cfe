"""What the page is given, and the file that it becomes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgewise.attention import Attention
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.graph import Graph
from edgewise.page import view
from edgewise.report import Report, Row
from edgewise.scores import EdgeScores
from unchecked import unchecked

GRAPH = Graph(3, 4, 2)


def scores_of(graph: Graph, seed: int = 0) -> EdgeScores:
    values = np.random.default_rng(seed).normal(size=graph.n_edges).round(1)  # with ties
    return EdgeScores(graph, values.astype(np.float32))


def data_of(file: Path) -> dict:
    text = file.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def kept(graph: Graph, data: dict, places: int | list[int]) -> Circuit:
    chosen = range(places) if isinstance(places, int) else places
    return Circuit.of(graph, graph.names(np.array([data["edges"][i] for i in chosen], int)))


@pytest.mark.parametrize("by", ["value", "magnitude"])
def test_edges_are_in_the_order_of_top(tmp_path: Path, by: str) -> None:
    scores = scores_of(GRAPH)
    circuit = scores.top(50, by=by)
    data = data_of(view(circuit, tmp_path / "page.html", scores=scores))
    assert data["by"] == by
    assert data["kept"] == 50
    assert data["ranked"] == GRAPH.n_edges
    for k in (0, 1, 13, 14, 15, 50, 100, GRAPH.n_edges):
        assert kept(GRAPH, data, k) == scores.top(k, by=by)
    assert data["scores"] == [float(f"{x:.5g}") for x in scores.values[data["edges"]].tolist()]


def test_a_circuit_off_the_ranking_is_kept_whole(tmp_path: Path) -> None:
    scores, circuit = scores_of(GRAPH), Circuit.random(GRAPH, 40, seed=1)
    data = data_of(view(circuit, tmp_path / "page.html", scores=scores))
    assert kept(GRAPH, data, data["kept"]) == circuit
    unscored = data_of(view(circuit, tmp_path / "page.html"))
    assert (unscored["ranked"], unscored["scores"], unscored["kept"]) == (0, None, 40)
    assert kept(GRAPH, unscored, 40) == circuit


def test_a_large_graph_carries_its_best_edges_alone(tmp_path: Path) -> None:
    graph = Graph(30, 9, 3)
    scores = scores_of(graph)
    circuit, other = scores.top(2000), Circuit.random(graph, 500, seed=0)
    heads = tuple(name for name in graph.writers if name.startswith("a"))
    weights = np.random.default_rng(0).random((2, len(heads), 20, 20)).astype(np.float32)
    attention = [Attention(tuple("abcdefghijklmnopqrst"), heads, *weights)] * 2
    file = view(circuit, tmp_path, scores=scores, other=other, attention=attention)
    assert file == tmp_path / "circuit.html"
    assert file.stat().st_size < 2_000_000
    data = data_of(file)
    assert data["ranked"] == 7_065
    assert len(data["edges"]) < 7_065 + 500
    assert kept(graph, data, data["other"]["kept"]) == other
    assert data["other"]["overlap"]["intersection"] == len(circuit & other)


def test_nothing_is_fetched_and_nothing_escapes(tmp_path: Path) -> None:
    row = Row(40, 30, 0.1, {})
    report = Report(
        "</script><script>alert(1)", "<b>", "test", "zero", 1, GRAPH.n_edges, {"circuit": row}
    )
    text = view(Circuit.empty(GRAPH), tmp_path / "page.html", report=report).read_text()
    assert re.findall(r"https?://(?!www\.w3\.org)", text) == []
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    assert text.count("</script>") == 2
    assert "<title>&lt;b&gt; in &lt;/script&gt;" in text
    assert data_of(tmp_path / "page.html")["report"]["model"] == "</script><script>alert(1)"


def test_a_run_folder_fills_in_what_is_not_given(tmp_path: Path) -> None:
    scores = scores_of(GRAPH)
    circuit = scores.top(20)
    scores.save(tmp_path)
    row = Row(20, 10, 0.1, {})
    Report("tiny", "ioi", "test", "zero", 8, GRAPH.n_edges, {"circuit": row}).save(tmp_path)
    lines = [
        {"step": i, "kl": float("nan") if i == 3 else 1 / (i + 1), "seconds": i}
        for i in range(1000)
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"st'
    )
    data = data_of(view(circuit, tmp_path / "page.html", run=tmp_path))
    assert (data["ranked"], data["title"]) == (GRAPH.n_edges, "ioi in tiny")
    history = data["history"]
    assert set(history) == {"step", "kl"}
    assert len(history["step"]) == len(history["kl"]) == 400
    assert (history["step"][0], history["step"][-1]) == (0, 999)
    assert history["kl"][1] is None or history["step"][1] != 3


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    circuit, file = Circuit.empty(GRAPH), tmp_path / "page.html"
    other_graph = Graph(3, 4, 4)
    with pytest.raises(GraphError, match="the scores are of"):
        view(circuit, file, scores=scores_of(other_graph))
    with pytest.raises(GraphError, match="different graphs"):
        view(circuit, file, other=Circuit.empty(other_graph))
    report = Report("m", "t", "test", "zero", 1, 5, {})
    with pytest.raises(GraphError, match="a graph of 5 edges"):
        view(circuit, file, report=report)
    with unchecked():
        with pytest.raises(ConfigError, match=r"circuit is 'runs/a', .*Circuit\.load\('runs/a'\)"):
            view("runs/a", file)
        with pytest.raises(ConfigError, match=r"other is 'runs/b', .*Circuit\.load\('runs/b'\)"):
            view(circuit, file, other="runs/b")
    with pytest.raises(RunError, match="no folder"):
        view(circuit, file, run=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="too many for a page"):
        view(Circuit.full(Graph(30, 9, 3)), file)
    patterns = Attention(("a",), ("a3.h0",), *np.zeros((2, 1, 1, 1), np.float32))
    with pytest.raises(GraphError, match=r"attention of a3\.h0, which Graph"):
        view(circuit, file, attention=[patterns])
    (tmp_path / "attention.json").write_text("{")
    with pytest.raises(RunError, match="no JSON file"):
        view(circuit, file, run=tmp_path)
    assert not file.exists()
