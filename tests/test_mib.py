"""Submissions to MIB's circuit track, held to what its README and its evaluation ask of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise import mib
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, GraphError
from edgewise.export import export, import_scores
from edgewise.graph import Graph
from edgewise.scores import EdgeScores

GPT2 = Graph(12, 12, 12)
NAMES = ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]


def hung_together(graph: Graph, seed: int = 0, **more: Any) -> EdgeScores:
    """Scores whose best edges make paths, even the best 32: by writer and reader."""
    generator = np.random.default_rng(seed)
    writers, readers = (generator.normal(size=n) for n in (graph.n_writers, graph.n_readers))
    writers[0], readers[-1] = 4, 4
    values = writers[graph.writer_of] + readers[graph.reader_of]
    return EdgeScores(graph, values.astype(np.float32), **more)


# --- the track's rules, restated -----------------------------------------------------------------


def edges_of(layers: int, heads: int, parallel: bool) -> set[str]:
    """The names of all edges, made as MIB's graph is: writer by writer along the stream."""
    stream, names = ["input"], set()
    for layer in range(layers):
        own = [f"a{layer}.h{head}" for head in range(heads)]
        names |= {f"{w}->{head}<{kind}>" for w in stream for head in own for kind in "qkv"}
        seen = stream if parallel else stream + own
        names |= {f"{w}->m{layer}" for w in seen}
        stream = [*stream, *own, f"m{layer}"]
    return names | {f"{w}->logits" for w in stream}


def check(folder: Path, widths: dict[str, tuple[int, int, int]]) -> dict[str, list[set[str]]]:
    """Asserts that a folder is a submission; the circuits of each task and model by their size.

    A folder for each task and model, named `task_model`; in it one file of scores or nine circuits,
    of at most 0.1, 0.2, ... 50% of the edges; in each file a config, every node but the logits and
    every edge, by MIB's names.
    """
    found = {}
    for place in folder.iterdir():
        task, model = place.name.split("_")
        assert model in mib.TASKS[task]
        files = list(place.iterdir())
        assert len(files) in (1, 9)
        assert {file.suffix for file in files} == {".json"}
        layers, heads, width = widths[model]
        names, circuits = edges_of(layers, heads, False), []
        for file in files:
            data = json.loads(file.read_text())
            assert data["cfg"] == {
                "n_layers": layers,
                "n_heads": heads,
                "parallel_attn_mlp": False,
                "d_model": width,
            }
            assert set(data["edges"]) == names
            writers = {name.split("->")[0] for name in names}
            assert set(data["nodes"]) - {"logits"} == writers
            assert all(type(edge["in_graph"]) is bool for edge in data["edges"].values())
            assert all(isinstance(edge["score"], float) for edge in data["edges"].values())
            kept = {name for name, edge in data["edges"].items() if edge["in_graph"]}
            circuits.append(kept)
            if len(files) == 9:
                ends = {end.split("<")[0] for name in kept for end in name.split("->")}
                on = {name for name, node in data["nodes"].items() if node["in_graph"]}
                assert on - {"input", "logits"} == ends - {"input", "logits"}
        found[place.name] = sorted(circuits, key=len)
        if len(files) == 9:
            for kept, percentage in zip(found[place.name], map(float, NAMES), strict=True):
                assert 100 * len(kept) <= percentage * len(names)
    return found


# --- what is written -----------------------------------------------------------------------------


def test_nine_circuits_of_gates(tmp_path):
    scores = hung_together(GPT2)
    assert mib.submission(scores, tmp_path, "ioi") == tmp_path / "ioi_gpt2"
    assert {file.stem for file in (tmp_path / "ioi_gpt2").iterdir()} == {
        f"{name}-percent" for name in NAMES
    }
    circuits = check(tmp_path, {"gpt2": (12, 12, 768)})["ioi_gpt2"]
    for name, found in zip(NAMES, circuits, strict=True):
        top = scores.top(int(float(name) / 100 * GPT2.n_edges))
        assert found == set(top.pruned().edges)
    assert 0 < len(circuits[0]) < 32  # dead edges were dropped


def test_effects_of_either_sign_go_in_as_scores(tmp_path):
    found = {"task": {"name": "ioi", "seed": 0}}
    scores = hung_together(GPT2, provenance=found, order="magnitude")
    folder = export(scores.top(300), tmp_path, format="mib", scores=scores)
    assert [file.name for file in folder.iterdir()] == ["importances.json"]
    check(tmp_path, {"gpt2": (12, 12, 768)})
    again = import_scores(folder / "importances.json", GPT2)
    np.testing.assert_array_equal(again.values, scores.values)
    (folder / "0.1-percent.json").write_text("{}")  # of another run; two files would be no scores
    mib.submission(scores, tmp_path, "ioi")
    assert [file.name for file in folder.iterdir()] == ["importances.json"]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_shared_keys_and_values_count_once_for_each_query_head(density):
    graph, copies = Graph(3, 6, 2), Graph(3, 6, 6)
    scores = hung_together(graph, seed=1)
    total = len(edges_of(3, 6, False))
    assert copies.n_edges == total

    def spread(name: str) -> list[str]:
        """`<k>` and `<v>` of kv head g become those of query heads 3g, 3g + 1 and 3g + 2."""
        writer, reader = name.split("->")
        head, _, kind = reader.rstrip(">").partition("<")
        if kind not in ("k", "v"):
            return [name]
        block, group = head.split(".h")
        return [f"{writer}->{block}.h{3 * int(group) + i}<{kind}>" for i in range(3)]

    kept: list[str] = []
    for edge in np.argsort(-scores.values, kind="stable").tolist():
        if len(kept) + len(more := spread(graph.name(edge))) > int(density * total):
            break
        kept += more
    found = mib.best(scores, density)
    assert Circuit(copies, found) == Circuit.of(copies, kept).pruned()
    assert found.sum() <= density * total


# --- what is refused -----------------------------------------------------------------------------


def test_what_mib_does_not_have_is_refused(tmp_path):
    scores = hung_together(GPT2)
    with pytest.raises(ConfigError, match=r"no task 'greater-than' for gpt2; it has ioi \(gpt2, "):
        mib.submission(scores, tmp_path, "greater_than")
    with pytest.raises(ConfigError, match="no task 'mcqa' for gpt2"):
        mib.submission(scores, tmp_path, "mcqa")
    with pytest.raises(ConfigError, match=r"no model of 2 layers, 4 heads and 2 kv heads; .*gpt2"):
        mib.submission(hung_together(Graph(2, 4, 2)), tmp_path, "ioi")
    with pytest.raises(ConfigError, match="no model of 12 layers, 12 heads and 12 kv heads"):
        mib.submission(hung_together(replace(GPT2, parallel=True)), tmp_path, "ioi")
    opt = replace(scores, provenance={"model": {"model_type": "opt"}})
    with pytest.raises(ConfigError, match=r"MIB's gpt2 is of type gpt2, .* of a opt model"):
        mib.submission(opt, tmp_path, "ioi")
    with pytest.raises(GraphError, match="embeddings='free'"):
        mib.submission(hung_together(Graph(12, 12, 12, embeddings="free")), tmp_path, "ioi")
    with pytest.raises(ConfigError, match="give scores"):
        export(scores.top(9), tmp_path, format="mib")
    with pytest.raises(ConfigError, match="for which task they were found"):
        export(scores.top(9), tmp_path, format="mib", scores=scores)
    assert list(tmp_path.iterdir()) == []
