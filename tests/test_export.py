import json
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from edgewise.circuit import Circuit
from edgewise.cli import main
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.export import export, import_circuit, import_scores
from edgewise.graph import Graph
from edgewise.scores import EdgeScores
from unchecked import unchecked

GROUPED = Graph(2, 4, 2)
GRAPHS = [Graph(2, 2, 2), GROUPED, Graph(3, 3, 1, parallel=True), Graph(2, 4, 2, embeddings="free")]
READABLE = ["eap-ig", "edge-pruning", "csv", "graphml"]


def scored(graph: Graph) -> EdgeScores:
    return EdgeScores(graph, np.random.default_rng(0).normal(size=graph.n_edges).astype(np.float32))


# --- every format --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", READABLE)
@pytest.mark.parametrize("graph", [*GRAPHS, Graph(2, 2, 1, embeddings="split")], ids=str)
def test_what_is_written_comes_back(tmp_path, format, graph):
    if format == "eap-ig" and graph.embeddings == "split":
        pytest.skip("EAP-IG has one input")
    for k in (0, 1, graph.n_edges // 3, graph.n_edges):
        scores = scored(graph)
        circuit = scores.top(k)
        for given in (None, scores):
            file = export(circuit, tmp_path / "file", format=format, scores=given)
            loaded = import_circuit(file, graph, format=format)
            assert loaded == circuit
            assert loaded.provenance == {"imported": "file", "format": format}


@pytest.mark.parametrize("format", READABLE)
def test_the_first_edge_that_the_graph_lacks_is_named(tmp_path, format):
    large = Graph(3, 4, 2)
    file = export(Circuit.of(large, ["input->m0", "m1->m2"]), tmp_path / "file", format=format)
    expected = "n_layers is 3, but 2" if format == "eap-ig" else "edge 'm1->m2'.*no reader 'm2'"
    with pytest.raises(GraphError, match=expected) as caught:
        import_circuit(file, GROUPED, format=format)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("format", READABLE)
def test_files_of_another_kind_are_refused(tmp_path, format):
    file = tmp_path / "file"
    with pytest.raises(RunError, match="does not exist"):
        import_circuit(file, GROUPED, format=format)
    for content in (b"", b"{}", b'{"edges": 3}', b"a,b\n1,2\n", b"\xff\xfe", b"<graph></graph>"):
        file.write_bytes(content)
        with pytest.raises(RunError, match=str(file)):
            import_circuit(file, GROUPED, format=format)


def test_unknown_formats_and_foreign_scores_are_refused(tmp_path):
    circuit = Circuit.full(GROUPED)
    with unchecked(), pytest.raises(ConfigError, match=r"eap-ig, .*, dot, not 'pdf'"):
        export(circuit, tmp_path / "file", format="pdf")
    with unchecked(), pytest.raises(ConfigError, match="graphml, not 'dot'"):
        import_circuit(tmp_path / "file", GROUPED, format="dot")
    with pytest.raises(GraphError, match="the scores are of"):
        export(circuit, tmp_path / "file", scores=scored(Graph(2, 4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_exporting_imports_no_torch():
    code = "import sys, edgewise.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- EAP-IG --------------------------------------------------------------------------------------


def test_an_eap_ig_file_worked_out_by_hand(tmp_path):
    graph = Graph(1, 2, 1)
    values = np.arange(1, 12, dtype=np.float32)
    circuit = Circuit.of(graph, ["input->a0.h0<k>", "a0.h1->logits"])
    file = export(circuit, tmp_path / "file.json", scores=EdgeScores(graph, values))
    on, off = {"in_graph": True}, {"in_graph": False}
    assert json.loads(file.read_text()) == {
        "cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 1},
        # head 0 is read by nothing
        "nodes": {"input": on, "a0.h0": off, "a0.h1": on, "m0": off, "logits": on},
        "edges": {
            "input->a0.h0<q>": {"score": 1, **off},
            "input->a0.h1<q>": {"score": 2, **off},
            # the key edge of kv head 0 is one of each query head
            "input->a0.h0<k>": {"score": 1.5, **on},
            "input->a0.h1<k>": {"score": 1.5, **on},
            "input->a0.h0<v>": {"score": 2, **off},
            "input->a0.h1<v>": {"score": 2, **off},
            "input->m0": {"score": 5, **off},
            "a0.h0->m0": {"score": 6, **off},
            "a0.h1->m0": {"score": 7, **off},
            "input->logits": {"score": 8, **off},
            "a0.h0->logits": {"score": 9, **off},
            "a0.h1->logits": {"score": 10, **on},
            "m0->logits": {"score": 11, **off},
        },
    }


def entries(graph: Graph) -> dict:
    """A file of `graph` as EAP-IG writes it, nothing kept."""
    ungrouped = Graph(graph.n_layers, graph.n_heads, graph.n_heads, graph.parallel)
    names = ungrouped.names(np.arange(ungrouped.n_edges))
    return {
        "cfg": {
            "n_layers": graph.n_layers,
            "n_heads": graph.n_heads,
            "parallel_attn_mlp": graph.parallel,
            "d_model": 8,
        },
        "nodes": {"input": {"in_graph": True}},
        "edges": {name: {"score": 0.0, "in_graph": False} for name in names},
    }


def write(path, data) -> str:
    path.write_text(json.dumps(data))
    return str(path)


def test_copies_of_a_grouped_edge_are_kept_if_any_is_and_their_scores_add(tmp_path):
    data = entries(GROUPED)
    data["edges"]["input->a1.h3<v>"] = {"score": 2.0, "in_graph": True}
    data["edges"]["input->a1.h2<v>"] = {"score": -0.5, "in_graph": False}
    file = write(tmp_path / "file", data)
    assert import_circuit(file, GROUPED).edges == ("input->a1.h1<v>",)
    assert import_scores(file, GROUPED).values[GROUPED.index("input->a1.h1<v>")] == 1.5


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_scores_come_back(tmp_path, graph):
    scores = scored(graph)
    file = export(scores.top(3), tmp_path / "file", scores=scores)
    loaded = import_scores(file, graph)
    np.testing.assert_array_equal(loaded.values, scores.values)
    assert loaded.provenance == {"imported": "file", "format": "eap-ig"}


def test_without_scores_kept_edges_rank_above_the_others(tmp_path):
    circuit = Circuit.random(GROUPED, 7, seed=0)
    scores = import_scores(export(circuit, tmp_path / "file"), GROUPED)
    assert scores.top(7) == circuit


def test_a_free_input_is_written_as_kept_and_cannot_be_read_as_cut(tmp_path):
    graph = Graph(1, 2, 1, embeddings="free")
    joint = Graph(1, 2, 1)
    circuit = Circuit.of(graph, ["m0->logits"])
    file = export(circuit, tmp_path / "file")
    inputs = {name for name in joint.names(np.arange(joint.n_edges)) if "input" in name}
    assert set(import_circuit(file, joint).edges) == inputs | {"m0->logits"}
    data = json.loads(file.read_text())
    data["edges"]["input->m0"]["in_graph"] = False
    with pytest.raises(GraphError, match=r"edge 'input->m0' is cut.*embeddings='joint'"):
        import_circuit(write(tmp_path / "file", data), graph)


def test_split_embeddings_cannot_be_written(tmp_path):
    with pytest.raises(GraphError, match="EAP-IG has one 'input'"):
        export(Circuit.full(Graph(1, 1, 1, embeddings="split")), tmp_path / "file")


@pytest.mark.parametrize(
    ("part", "change", "error", "message"),
    [
        ("edges", {"input->m9": {"score": 1, "in_graph": False}}, GraphError, "'input->m9'"),
        ("edges", {"input->a0.h4<q>": {}}, GraphError, r"no reader 'a0\.h4<q>'"),
        ("edges", {"input->m0": True}, RunError, "edge 'input->m0' is True, not an object"),
        ("edges", {"input->m0": {"in_graph": 1}}, RunError, "'input->m0': in_graph is 1, not"),
        ("cfg", {"n_heads": 12}, GraphError, "n_heads is 12, but 4 in the graph"),
        ("cfg", {"parallel_attn_mlp": True}, GraphError, "parallel_attn_mlp is True, but False"),
        (
            "nodes",
            {"m0": {"in_graph": True, "neurons": [True, False]}},
            RunError,
            "'m0' keeps some",
        ),
    ],
)
def test_bad_eap_ig_files_are_refused(tmp_path, part, change, error, message):
    data = entries(GROUPED)
    data[part] |= change
    with pytest.raises(error, match=message):
        import_circuit(write(tmp_path / "file", data), GROUPED)


def test_scores_must_be_there_and_numbers(tmp_path):
    data = entries(GROUPED)
    data["edges"]["input->m0"]["score"] = None
    with pytest.raises(RunError, match="edge 'input->m0': its score is None"):
        import_scores(write(tmp_path / "file", data), GROUPED)
    del data["edges"]["input->m0"]
    with pytest.raises(RunError, match="edge 'input->m0' has no score"):
        import_scores(write(tmp_path / "file", data), GROUPED)


# --- Edge Pruning --------------------------------------------------------------------------------


def test_names_of_the_original_code(tmp_path):
    graph = Graph(8, 12, 12, embeddings="split")
    pairs = [
        ["tok_embeds", "a0.h3.k"],
        ["pos_embeds", "m0"],
        ["a5.h1", "a7.h2.q"],
        ["m6", "a7.h11.v"],
        ["m7", "resid_post"],
    ]
    circuit = import_circuit(write(tmp_path / "edges.json", pairs), graph, format="edge-pruning")
    assert circuit.edges == (
        "a5.h1->a7.h2<q>",
        "m6->a7.h11<v>",
        "m7->logits",
        "pos->m0",
        "tok->a0.h3<k>",
    )
    written = json.loads(export(circuit, tmp_path / "out", format="edge-pruning").read_text())
    assert sorted(written) == sorted(pairs)


def test_the_original_codes_llama_and_tracr_names(tmp_path):
    file = write(tmp_path / "llama.json", [["embeds", "a1.h1.v"], ["a0.h3", "resid_post"]])
    circuit = import_circuit(file, GROUPED, format="edge-pruning")
    assert circuit.edges == ("a0.h3->logits", "input->a1.h1<v>")
    file = write(tmp_path / "tracr.json", [["token_embeds", "m0"]])
    graph = Graph(2, 1, 1, embeddings="split")
    assert import_circuit(file, graph, format="edge-pruning").edges == ("tok->m0",)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (
            [["embeds", "m0"], ["tok_embeds", "m0"]],
            GraphError,
            "edge 'tok->m0': there is no writer",
        ),
        ([["embeds", "m0"], ["embeds", "a0.h1.x"]], GraphError, r"no reader 'a0\.h1\.x'"),
        ([["embeds", "m0"], ["embeds"]], RunError, r"edge 1 is \['embeds'\], not a pair"),
        (["embeds->m0"], RunError, "edge 0 is 'embeds->m0', not a pair"),
    ],
)
def test_bad_edges_json_is_refused(tmp_path, pairs, error, message):
    with pytest.raises(error, match=message):
        import_circuit(write(tmp_path / "file", pairs), GROUPED, format="edge-pruning")


# --- tables and drawings -------------------------------------------------------------------------


def small() -> tuple[Circuit, EdgeScores]:
    circuit = Circuit.of(GROUPED, ["input->a0.h1<k>", "a0.h2->logits", "input->m1"])
    values = np.zeros(GROUPED.n_edges, np.float32)
    for name, value in [("input->a0.h1<k>", 2), ("a0.h2->logits", -1), ("input->m1", 0.5)]:
        values[GROUPED.index(name)] = value
    return circuit, EdgeScores(GROUPED, values)


def test_csv(tmp_path):
    circuit, scores = small()
    assert export(circuit, tmp_path / "file.csv", format="csv", scores=scores).read_text() == (
        "edge,writer,reader,alive,score\n"
        "input->a0.h1<k>,input,a0.h1<k>,1,2.0\n"
        "input->m1,input,m1,0,0.5\n"
        "a0.h2->logits,a0.h2,logits,1,-1.0\n"
    )
    assert (
        export(circuit, tmp_path / "file.csv", format="csv")
        .read_text()
        .startswith("edge,writer,reader,alive\ninput->a0.h1<k>,input,a0.h1<k>,1\n")
    )
    (tmp_path / "file.csv").write_text("reader,edge\nm1,input->m1\nm1\n")
    with pytest.raises(GraphError, match="'' is no edge name"):
        import_circuit(tmp_path / "file.csv", GROUPED, format="csv")


def test_graphml(tmp_path):
    circuit, scores = small()
    file = export(circuit, tmp_path / "file.graphml", format="graphml", scores=scores)
    drawing = nx.read_graphml(file)
    assert dict(drawing.nodes(data=True)) == {
        "input": {},
        "a0.h2": {"layer": 0},
        "a0.h3": {"layer": 0},
        "m1": {"layer": 1},
        "logits": {},
    }
    lines = {(a, b): data for a, b, data in drawing.edges(data=True)}
    assert set(lines) == {
        ("input", "a0.h2"),
        ("input", "a0.h3"),
        ("input", "m1"),
        ("a0.h2", "logits"),
    }
    line = lines["input", "a0.h3"]
    assert (line["edge"], line["kind"], line["score"]) == ("input->a0.h1<k>", "k", 2.0)
    # alive is of the edge, which head 2 carries on, not of the line
    assert line["alive"] is True
    assert lines["input", "m1"]["alive"] is False


def test_graphml_without_edge_names_is_refused(tmp_path):
    nx.write_graphml(nx.DiGraph([("input", "m0")]), tmp_path / "file")
    with pytest.raises(RunError, match="from input to m0 has no attribute 'edge'"):
        import_circuit(tmp_path / "file", GROUPED, format="graphml")


def test_dot(tmp_path):
    circuit, scores = small()
    assert export(circuit, tmp_path / "file.dot", format="dot", scores=scores).read_text() == (
        """digraph circuit {
  rankdir=BT;
  node [shape=box, style=rounded, fontname="Helvetica"];
  edge [fontname="Helvetica", fontsize=10];
  "input";
  "logits";
  { rank=same; "a0.h2"; "a0.h3"; }
  { rank=same; "m1"; }
  "input" -> "a0.h2" [color="#15803d", label="k", penwidth=4.5];
  "input" -> "a0.h3" [color="#15803d", label="k", penwidth=4.5];
  "input" -> "m1" [color="#404040", penwidth=1.5, style=dotted];
  "a0.h2" -> "logits" [color="#404040", penwidth=2.5, style=dashed];
}
"""
    )
    bare = export(circuit, tmp_path / "file.dot", format="dot").read_text()
    assert '  "a0.h2" -> "logits" [color="#404040"];\n' in bare


# --- the commands --------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder where nobody can make files")
@pytest.mark.parametrize("format", ["csv", "dot"])
def test_a_place_that_takes_no_file_is_named(tmp_path, capsys, format):
    run = small()[0].save(tmp_path)
    out = "/proc/no/circuit"
    assert main(["export", str(run), "--format", format, "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.startswith("edgewise: /proc/no")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["x.png", "x.htm", "x.HTML"])
def test_a_page_has_its_suffix(tmp_path, capsys, name):
    run = str(small()[0].save(tmp_path))
    assert main(["view", run, "--out", str(tmp_path / name)]) == 2
    assert f"{name}: a page's file must end in .html" in capsys.readouterr().err
    assert not (tmp_path / name).exists()
    (tmp_path / "runs.v2").mkdir()
    for out in ("a.html", "folder", "runs.v2"):
        assert main(["view", run, "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "runs.v2" / "circuit.html").exists()
