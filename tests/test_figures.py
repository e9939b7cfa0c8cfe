"""Figures for papers."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install edgewise[plot]")

from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, DataError, GraphError
from edgewise.estimate import Estimate
from edgewise.figures import plot
from edgewise.graph import Graph
from edgewise.picture import Layout, picture
from edgewise.report import Report, Row
from edgewise.scores import EdgeScores

GRAPH = Graph(4, 6, 2)
HEADS = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}


def a_report(shift: float) -> Report:
    def metrics(kl: float) -> dict[str, Estimate]:
        return {"kl": Estimate(kl, kl - 0.1, kl + 0.1), "exact_match": Estimate(0.5, 0.4, 0.6)}

    rows = {
        "circuit": Row(20, 20, 0.02, metrics(0.5 + shift)),
        "full": Row(1000, 1000, 1.0, metrics(0.0)),
        "empty": Row(0, 0, 0.0, metrics(3.0)),
    }
    curve = tuple(
        Row(round(1000 * d), 1, d, metrics(shift + 0.01 / d)) for d in (0.01, 0.02, 0.1, 1.0)
    )
    return Report("tiny", "ioi", "test", "interchange", 64, 1000, rows, curves={"value": curve})


@pytest.mark.parametrize("suffix", HEADS)
def test_plot_writes_every_format_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    reports = {"one": a_report(0.0), "two": a_report(0.3)}
    file = plot(reports, tmp_path / f"a{suffix}")
    assert file.read_bytes().startswith(HEADS[suffix])
    assert file.read_bytes() == plot(reports, tmp_path / f"b{suffix}").read_bytes()


def test_plot_names_runs_and_metrics(tmp_path: Path) -> None:
    text = plot({"mine": a_report(0), "theirs": a_report(1)}, tmp_path / "a.svg").read_text()
    for word in ("mine", "theirs", "full model", "no edges", "KL divergence (nats)", "10%"):
        assert word in text


def test_plot_refuses_what_it_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="nothing to plot"):
        plot({}, tmp_path / "a.pdf")
    with pytest.raises(DataError, match="mine: the report has no metric 'accuracy'"):
        plot({"mine": a_report(0)}, tmp_path / "a.pdf", ["accuracy"])
    with pytest.raises(ConfigError, match=r"must end in one of \.pdf, \.svg, \.png"):
        plot({"mine": a_report(0)}, tmp_path / "a.gif")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="need matplotlib"):
        plot({"mine": a_report(0)}, tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "graph",
    [
        GRAPH,
        Graph(3, 4, 4),
        Graph(2, 1, 1),
        Graph(2, 4, 4, True, "split"),
        Graph(2, 2, 2, False, "free"),
    ],
    ids=str,
)
def test_pictures_draw_every_alive_edge(tmp_path: Path, graph: Graph) -> None:
    scores = EdgeScores(graph, np.random.default_rng(0).normal(size=graph.n_edges).astype("f4"))
    circuit = scores.top(graph.n_edges // 2)
    text = picture(circuit, tmp_path / "a.svg", scores).read_text()
    by_kind = circuit.pruned().summary().by_reader_kind
    for kind, word in {"q": "queries", "k": "keys", "v": "values", "mlp": "MLPs"}.items():
        if by_kind[kind]:
            assert f"{word} {by_kind[kind]:,}" in text
    assert text.count('id="PathCollection_1"') == 1
    picture(Circuit.empty(graph), tmp_path / "empty.pdf")


def test_edges_go_up(tmp_path: Path) -> None:
    """From every writer to every reader that sees it, in any kind of graph."""
    for graph in (
        GRAPH,
        Graph(30, 9, 3),
        Graph(3, 4, 4, parallel=True),
        Graph(2, 3, 1, False, "split"),
    ):
        layout = Layout(graph)
        assert layout.writers.shape == (graph.n_writers, 2)
        assert layout.readers.shape == (graph.n_readers, 2)
        rise = layout.readers[graph.reader_of, 1] - layout.writers[graph.writer_of, 1]
        assert (rise > 0).all()


def test_scores_of_another_graph_are_refused(tmp_path: Path) -> None:
    other = Graph(2, 2, 2)
    scores = EdgeScores(other, np.zeros(other.n_edges, np.float32))
    with pytest.raises(GraphError, match="the scores are of"):
        picture(Circuit.empty(GRAPH), tmp_path / "a.pdf", scores)
