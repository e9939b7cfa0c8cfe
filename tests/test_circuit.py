import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import hypergeom

from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.graph import Graph
from unchecked import unchecked

GRAPH = Graph(2, 4, 2)


def test_full_empty_and_named():
    full, empty = Circuit.full(GRAPH), Circuit.empty(GRAPH)
    assert (len(full), full.density, full.sparsity) == (GRAPH.n_edges, 1, 0)
    assert (len(empty), empty.density, empty.sparsity) == (0, 0, 1)
    named = Circuit.of(GRAPH, ["m0->logits", "input->m0"])
    assert named.edges == ("input->m0", "m0->logits")
    assert named.n_edges == len(named) == 2
    assert named.density == 2 / GRAPH.n_edges
    assert repr(named) == f"<Circuit of 2 of {GRAPH.n_edges} edges>"


def test_of_refuses_the_first_unknown_edge():
    with pytest.raises(GraphError, match="'m0->m9'"):
        Circuit.of(GRAPH, ["input->m0", "m0->m9", "m1->m9"])
    with unchecked(), pytest.raises(GraphError, match=r"list of names, \['m0->m1'\]$"):
        Circuit.of(GRAPH, "m0->m1")


def test_random_circuits_follow_their_seed():
    circuit = Circuit.random(GRAPH, 10, seed=1)
    assert len(circuit) == 10
    assert circuit == Circuit.random(GRAPH, 10, seed=1)
    assert circuit != Circuit.random(GRAPH, 10, seed=2)
    with pytest.raises(ConfigError, match="1000 edges can't be kept"):
        Circuit.random(GRAPH, 1000, seed=1)


def test_kept_is_a_checked_read_only_copy():
    kept = np.zeros(GRAPH.n_edges, bool)
    circuit = Circuit(GRAPH, kept)
    kept[0] = True
    assert len(circuit) == 0
    with pytest.raises(ValueError, match="read-only"):
        circuit.kept[0] = True
    with pytest.raises(GraphError, match=r"shape \(3,\)"):
        Circuit(GRAPH, np.zeros(3, bool))
    with unchecked(), pytest.raises(GraphError, match="must hold bools, not float64"):
        Circuit(GRAPH, np.zeros(GRAPH.n_edges))


# --- sets ----------------------------------------------------------------------------------------


def test_set_operations():
    a = Circuit.of(GRAPH, ["input->m0", "m0->m1"])
    b = Circuit.of(GRAPH, ["m0->m1", "m1->logits"])
    assert (a & b).edges == ("m0->m1",)
    assert (a | b).edges == ("input->m0", "m0->m1", "m1->logits")
    assert (a - b).edges == ("input->m0",)
    assert (a - a) == Circuit.empty(GRAPH)


def test_equality_is_of_edges_and_graph_alone():
    a = Circuit(GRAPH, Circuit.full(GRAPH).kept, {"method": "mine"})
    assert a == Circuit.full(GRAPH)
    assert len({a, Circuit.full(GRAPH), Circuit.empty(GRAPH)}) == 2
    assert Circuit.empty(GRAPH) != Circuit.empty(Graph(2, 4, 4))
    assert Circuit.empty(GRAPH) != "circuit"


@pytest.mark.parametrize("operation", ["__and__", "__or__", "__sub__", "overlap"])
def test_circuits_of_different_graphs_do_not_combine(operation):
    with pytest.raises(GraphError, match="circuits of different graphs"):
        getattr(Circuit.empty(GRAPH), operation)(Circuit.empty(Graph(2, 4, 4)))


def test_overlap_worked_out_by_hand():
    graph = Graph(1, 1, 1)  # 8 edges
    a = Circuit.of(graph, ["input->m0", "a0.h0->m0", "m0->logits"])
    b = Circuit.of(graph, ["input->m0", "a0.h0->m0"])
    overlap = a.overlap(b)
    assert (overlap.intersection, overlap.union, overlap.expected) == (2, 3, 6 / 8)
    assert overlap.iou == 2 / 3
    assert overlap.times_chance == 2 / 0.75
    # both of b's edges among a's 3 of 8: C(3,2) / C(8,2)
    assert overlap.p_value == pytest.approx(3 / 28)


def test_overlap_of_the_papers_boolean_circuits_is_1659_times_chance():
    total, mine, theirs, shared = 3_872_820, 1_041, 1_464, 653
    graph = Graph(40, 40, 40, embeddings="free")
    a, b = np.zeros((2, total), bool)
    a[:mine] = True
    b[mine - shared : mine - shared + theirs] = True
    overlap = Circuit(graph, a).overlap(Circuit(graph, b))
    assert overlap.intersection == shared
    assert round(overlap.times_chance) == 1_659
    assert overlap.p_value == hypergeom.sf(shared - 1, total, mine, theirs) < 1e-100


def test_overlap_of_empty_circuits():
    overlap = Circuit.empty(GRAPH).overlap(Circuit.empty(GRAPH))
    assert (overlap.iou, overlap.p_value) == (1, 1)
    assert math.isnan(overlap.times_chance)


# --- aliveness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "alive"),
    [
        (["input->logits"], ["input->logits"]),
        # a writer that nothing reaches; a reader that leads nowhere
        (["m0->logits"], []),
        (["input->m0"], []),
        (
            ["input->m0", "m0->m1", "m1->logits", "m0->a1.h0<q>"],
            ["input->m0", "m0->m1", "m1->logits"],
        ),
        # queries alone reach a head: they move its attention
        (["input->a0.h3<q>", "a0.h3->logits"], ["input->a0.h3<q>", "a0.h3->logits"]),
        # kv head 1 feeds query heads 2 and 3, not 1
        (["input->a0.h1<k>", "a0.h1->logits"], []),
        (["input->a0.h1<k>", "a0.h2->logits"], ["input->a0.h1<k>", "a0.h2->logits"]),
        (["input->a0.h1<v>", "a0.h3->logits"], ["input->a0.h1<v>", "a0.h3->logits"]),
        # head 3 is reached by its keys, head 0 of the next layer by nothing
        (
            ["input->a0.h1<k>", "a0.h3->m1", "a1.h0->m1", "m1->logits"],
            ["input->a0.h1<k>", "a0.h3->m1", "m1->logits"],
        ),
        # the head leads nowhere, and so what feeds it alone
        (["input->m0", "m0->a1.h0<v>", "input->logits"], ["input->logits"]),
    ],
)
def test_alive_edges_worked_out_by_hand(edges, alive):
    circuit = Circuit.of(GRAPH, edges)
    assert list(circuit.pruned().edges) == sorted(alive)
    assert circuit.alive.sum() == len(alive)
    assert circuit.pruned().pruned() == circuit.pruned()


def test_under_free_embeddings_every_component_is_reached():
    graph = Graph(2, 4, 2, embeddings="free")
    assert Circuit.of(graph, ["m0->logits", "a0.h0->m1"]).pruned().edges == ("m0->logits",)


def test_the_full_circuit_is_alive():
    assert Circuit.full(GRAPH).alive.all()
    assert not Circuit.empty(GRAPH).alive.any()


def test_paths_name_components():
    circuit = Circuit.of(
        GRAPH,
        ["input->a0.h1<k>", "input->a0.h3<q>", "a0.h2->m1", "a0.h3->m1", "m1->logits", "input->m1"],
    )
    assert circuit.paths() == [
        ("input", "m1", "logits"),
        ("input", "a0.h2", "m1", "logits"),
        ("input", "a0.h3", "m1", "logits"),
    ]
    assert circuit.paths(limit=1) == [("input", "m1", "logits")]
    assert circuit.paths("a0.h2", "m1") == [("a0.h2", "m1")]
    assert circuit.paths("m1", "a0.h2") == []
    assert circuit.paths("m1", "m1") == [("m1",)]
    with pytest.raises(GraphError, match=r"no component 'a0\.h3<q>': they are input, a0\.h0"):
        circuit.paths("a0.h3<q>")


# --- files ---------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    circuit = Circuit(GRAPH, Circuit.random(GRAPH, 9, 0).kept, {"method": "mine", "steps": [1, 2]})
    for path, file in [(tmp_path / "run", "circuit.json"), (tmp_path / "my.json", "")]:
        assert circuit.save(path) == (path / file if file else path)
        loaded = Circuit.load(path)
        assert loaded == circuit
        assert loaded.provenance == circuit.provenance
    assert Circuit.load(tmp_path / "run" / "circuit.json") == circuit


def test_the_file_can_be_read_and_diffed_by_a_person(tmp_path):
    circuit = Circuit(
        GRAPH, Circuit.of(GRAPH, ["m1->logits", "input->a0.h1<k>", "input->m0"]).kept, {"seed": 0}
    )
    assert (
        circuit.save(tmp_path).read_text()
        == """{
  "format": "edgewise-circuit/1",
  "graph": {
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "parallel": false,
    "embeddings": "joint",
    "coupled": false
  },
  "provenance": {
    "seed": 0
  },
  "edges": [
    "input->a0.h1<k>",
    "input->m0",
    "m1->logits"
  ]
}
"""
    )


def test_a_file_that_says_nothing_of_coupling_is_read(tmp_path):
    circuit = Circuit.of(GRAPH, ["input->m0", "m0->logits"])
    file = circuit.save(tmp_path)
    file.write_text(file.read_text().replace(',\n    "coupled": false', ""))
    assert "coupled" not in file.read_text()
    assert Circuit.load(file) == circuit


def test_an_empty_circuit_and_a_full_one_come_back(tmp_path):
    for circuit in (Circuit.empty(GRAPH), Circuit.full(GRAPH)):
        circuit.save(tmp_path)
        assert Circuit.load(tmp_path) == circuit


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"edges": ["input->m0", "input->m7", "m1->m7"]},
            GraphError,
            "'input->m7'.*no reader 'm7'",
        ),
        ({"edges": ["m1->m0"]}, GraphError, "'m1' writes only after 'm0' reads"),
        ({"edges": ["input->m0", 3]}, RunError, "edge 1 is 3, not a name"),
        ({"edges": ["input->m0", "input->m1", "input->m0"]}, RunError, "'input->m0' is there more"),
        ({"edges": None}, RunError, "edges must be a list"),
        ({"provenance": []}, RunError, "provenance an object"),
        ({"format": "edgewise-circuit/2"}, RunError, "its format is 'edgewise-circuit/2', not"),
        ({"graph": None}, GraphError, "described by a JSON object, not None"),
        ({"graph": {"n_layers": 1}}, GraphError, "are missing"),
    ],
)
def test_malformed_files_are_refused_with_the_first_bad_part(tmp_path, change, error, message):
    data = json.loads(Circuit.of(GRAPH, ["input->m0"]).save(tmp_path / "good.json").read_text())
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data | change))
    with unchecked(), pytest.raises(error, match=message) as caught:
        Circuit.load(file)
    assert str(file) in str(caught.value)
    assert ("delete it" in str(caught.value)) == ("format" not in change)  # or it is another's


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(RunError, match=r"circuit\.json does not exist: give a run folder"):
        Circuit.load(tmp_path)
    again = "delete it and type the run's `edgewise discover` command again"
    for broken in (b'{"format": ', b"\xff\xfe", b""):
        (tmp_path / "circuit.json").write_bytes(broken)
        with pytest.raises(RunError, match=rf"circuit\.json is no JSON file: .*{again}"):
            Circuit.load(tmp_path)
    (tmp_path / "circuit.json").write_text("[]")
    with pytest.raises(RunError, match="its format is 'list'"):
        Circuit.load(tmp_path)


def test_provenance_that_is_no_json_leaves_the_old_file(tmp_path):
    Circuit.full(GRAPH).save(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        Circuit(GRAPH, Circuit.empty(GRAPH).kept, {"kl": math.nan}).save(tmp_path)
    assert Circuit.load(tmp_path) == Circuit.full(GRAPH)


def test_looking_at_circuits_imports_no_torch():
    code = (
        "import sys, edgewise.graph, edgewise.circuit, edgewise.scores, edgewise.wiring;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
