import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, GraphError, NonFiniteError, RunError
from edgewise.graph import Graph
from edgewise.scores import EdgeScores
from unchecked import unchecked

GRAPH = Graph(1, 1, 1)  # 8 edges


def scores(*values: float) -> EdgeScores:
    return EdgeScores(GRAPH, np.array(values, np.float32), {"method": "mine"})


def kept(circuit: Circuit) -> list[int]:
    return np.flatnonzero(circuit.kept).tolist()


def test_the_top_edges_by_value_and_by_magnitude():
    ranking = scores(1, -9, 3, 0, 2, -5, 4, 0)
    assert kept(ranking.top(3)) == [2, 4, 6]
    assert kept(ranking.top(3, by="magnitude")) == [1, 5, 6]
    assert kept(ranking.top(0)) == []
    assert kept(ranking.top(8)) == list(range(8))


def test_scores_have_an_order_of_their_own(tmp_path):
    effects = replace(scores(1, -9, 3, 0, 2, -5, 4, 0), order="magnitude")
    assert kept(effects.top(3)) == [1, 5, 6]
    assert kept(effects.top(3, by="value")) == [2, 4, 6]
    assert kept(effects.at_density(3 / 8)) == [1, 5, 6]
    assert effects.top(3).provenance["by"] == "magnitude"
    effects.save(tmp_path)
    assert EdgeScores.load(tmp_path).order == "magnitude"
    with unchecked(), pytest.raises(ConfigError, match="'value' or 'magnitude', not by 'size'"):
        EdgeScores(GRAPH, np.zeros(8, np.float32), order="size")


def test_ties_go_to_the_lowest_index():
    ranking = scores(0, 1, 2, 1, 1, 2, 1, 0)
    assert kept(ranking.top(2)) == [2, 5]
    assert kept(ranking.top(4)) == [1, 2, 3, 5]
    assert kept(scores(*[0] * 8).top(3)) == [0, 1, 2]
    assert kept(scores(-1, 1, -1, 1, 0, 0, 0, 0).top(3, by="magnitude")) == [0, 1, 2]


def test_top_is_a_stable_sort():
    graph = Graph(3, 4, 2)
    values = np.random.default_rng(0).integers(-5, 5, graph.n_edges).astype(np.float32)
    order = np.argsort(-values, kind="stable")
    for k in range(graph.n_edges + 1):
        circuit = EdgeScores(graph, values).top(k)
        assert kept(circuit) == sorted(order[:k].tolist())


def test_infinite_scores_have_a_rank():
    assert kept(scores(np.inf, 1, -np.inf, 0, 0, 0, 0, 2).top(2)) == [0, 7]
    assert kept(scores(np.inf, 1, -np.inf, 0, 0, 0, 0, 2).top(2, by="magnitude")) == [0, 2]


def test_density_is_a_share_of_all_edges():
    ranking = scores(*range(8))
    assert kept(ranking.at_density(0.25)) == [6, 7]
    assert kept(ranking.at_density(1)) == list(range(8))
    assert kept(ranking.at_density(1e-6)) == [7]
    for density in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ConfigError, match=r"density must be in \(0, 1\]"):
            ranking.at_density(density)


def test_the_selection_is_recorded():
    circuit = scores(*range(8)).top(2, by="magnitude")
    assert circuit.provenance == {"method": "mine", "top": 2, "by": "magnitude"}


def test_impossible_selections_are_refused():
    for k in (-1, 9):
        with pytest.raises(ConfigError, match=f"{k} edges can't be kept: the graph has 8"):
            scores(*range(8)).top(k)
    with unchecked(), pytest.raises(ConfigError, match="'value' or 'magnitude', not by 'size'"):
        scores(*range(8)).top(1, by="size")
    with unchecked(), pytest.raises(ConfigError, match=r"0\.5 edges .*scores\.at_density\(0\.02\)"):
        scores(*range(8)).top(0.5)
    with unchecked():  # numpy's are whole numbers too
        assert len(scores(*range(8)).top(np.int64(3))) == 3


def test_nan_is_refused_with_the_first_edge():
    with pytest.raises(
        NonFiniteError, match=r"2 of 8 scores are NaN, the first at input->a0\.h0<v>"
    ):
        scores(0, 1, np.nan, 3, 4, np.nan, 6, 7)


def test_values_are_a_checked_read_only_copy():
    values = np.zeros(8, np.float32)
    ranking = EdgeScores(GRAPH, values)
    values[0] = 1
    assert ranking.values[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        ranking.values[0] = 1
    with pytest.raises(GraphError, match=r"shape \(3,\)"):
        EdgeScores(GRAPH, np.zeros(3, np.float32))


def test_save_and_load(tmp_path):
    ranking = scores(*range(8))
    assert ranking.save(tmp_path) == tmp_path / "scores.safetensors"
    assert ranking.save(tmp_path / "my.safetensors") == tmp_path / "my.safetensors"
    for path in (tmp_path, tmp_path / "scores.safetensors", tmp_path / "my.safetensors"):
        loaded = EdgeScores.load(path)
        assert loaded.graph == GRAPH
        assert loaded.provenance == {"method": "mine"}
        np.testing.assert_array_equal(loaded.values, ranking.values)


def test_files_that_hold_no_scores_are_refused(tmp_path):
    file = tmp_path / "scores.safetensors"
    with pytest.raises(RunError, match="does not exist"):
        EdgeScores.load(tmp_path)
    file.write_bytes(b"not a tensor")
    with pytest.raises(RunError, match="holds no scores"):
        EdgeScores.load(tmp_path)
    values = {"values": np.zeros(8, np.float32)}
    safetensors.numpy.save_file(values, file)
    with pytest.raises(RunError, match="its format is None, not 'edgewise-scores/1'"):
        EdgeScores.load(tmp_path)
    safetensors.numpy.save_file(values, file, {"format": "edgewise-scores/1"})
    with pytest.raises(RunError, match=r"holds no scores: 'graph'.*delete it and type the run's"):
        EdgeScores.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "changes", "error", "said"),
    [
        (np.full(8, np.nan), {}, NonFiniteError, "8 of 8 scores are NaN"),
        (np.zeros(8), {"order": "up"}, RunError, "not by 'up'"),
        (np.zeros(8), {"graph": "{"}, RunError, "Expecting property name"),
        (np.zeros(8), {"graph": "{}"}, GraphError, "are missing"),
    ],
)
def test_a_corrupt_file_is_named_with_what_to_do(tmp_path, values, changes, error, said):
    file = tmp_path / "scores.safetensors"
    graph = json.dumps(Graph(1, 1, 1).to_json())
    metadata = {"format": "edgewise-scores/1", "graph": graph, "provenance": "{}"} | changes
    safetensors.numpy.save_file({"values": values.astype(np.float32)}, file, metadata)
    with unchecked(), pytest.raises(error, match=said) as caught:
        EdgeScores.load(tmp_path)
    assert str(caught.value).startswith(str(file))
    assert "delete it and type the run's `edgewise discover` command again" in str(caught.value)


def test_scores_of_another_graph_are_refused(tmp_path):
    file = tmp_path / "scores.safetensors"
    metadata = {
        "format": "edgewise-scores/1",
        "graph": json.dumps(Graph(2, 1, 1).to_json()),
        "provenance": "{}",
    }
    safetensors.numpy.save_file({"values": np.zeros(8, np.float32)}, file, metadata)
    with pytest.raises(GraphError, match=r"scores\.safetensors: values have shape \(8,\)"):
        EdgeScores.load(tmp_path)
