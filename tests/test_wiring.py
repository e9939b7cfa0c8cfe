import networkx as nx
import numpy as np
import pytest

from edgewise import wiring
from edgewise.circuit import Circuit
from edgewise.graph import Graph

GRAPHS = [
    Graph(2, 4, 2),
    Graph(2, 4, 1, parallel=True),
    Graph(3, 2, 2, embeddings="split"),
    Graph(3, 2, 1, embeddings="free"),
    Graph(2, 4, 2, coupled=True),
    Graph(2, 2, 1, parallel=True, embeddings="free", coupled=True),
]


def wires(circuit: Circuit) -> nx.DiGraph:
    """The slow definition: writers ("w", name) and readers ("r", name) as nodes; kept edges, free
    reads and the structure inside a component as arrows."""
    graph = circuit.graph
    arrows = nx.DiGraph()
    arrows.add_nodes_from(("w", name) for name in graph.writers)
    arrows.add_nodes_from(("r", name) for name in graph.readers)
    for name in circuit.edges:
        writer, reader = name.split("->")
        arrows.add_edge(("w", writer), ("r", reader))
    if graph.embeddings == "free":
        arrows.add_edges_from((("w", "input"), ("r", name)) for name in graph.readers)
    group_size = graph.n_heads // graph.n_kv_heads
    for layer in range(graph.n_layers):
        for head in range(graph.n_heads):
            group = head // group_size
            names = [f"a{layer}.h{head}<q>", f"a{layer}.h{group}<k>", f"a{layer}.h{group}<v>"]
            if graph.coupled:
                names = graph.readers[graph.attention_readers(layer)]
            for name in names:
                arrows.add_edge(("r", name), ("w", f"a{layer}.h{head}"))
        arrows.add_edge(("r", f"m{layer}"), ("w", f"m{layer}"))
    return arrows


def circuits(graph: Graph) -> list[Circuit]:
    sizes = [0, 3, 8, 15, 25, graph.n_edges]
    return [Circuit.random(graph, min(k, graph.n_edges), seed) for k in sizes for seed in range(5)]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_alive_edges_are_those_on_a_path_from_an_input_to_the_logits(graph):
    for circuit in circuits(graph):
        arrows = wires(circuit)
        inputs = [("w", name) for name in graph.writers[: graph.n_inputs]]
        reached = set(inputs).union(*(nx.descendants(arrows, node) for node in inputs))
        leading = nx.ancestors(arrows, ("r", "logits")) | {("r", "logits")}
        expected = []
        for name in circuit.edges:
            writer, reader = name.split("->")
            if ("w", writer) in reached and ("r", reader) in leading:
                expected.append(name)
        assert list(circuit.pruned().edges) == expected


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_paths_are_all_simple_paths_shortest_first(graph):
    for circuit in circuits(graph)[:-5]:
        arrows = wires(circuit)
        components = nx.DiGraph()
        for writer, reader in arrows.edges:
            if writer[0] == "w":
                ends = [("", "logits")] if reader[1] == "logits" else list(arrows[reader])
                components.add_edges_from((writer[1], end[1]) for end in ends)
        components.add_nodes_from([*graph.writers, "logits"])
        for source in (graph.writers[0], "a1.h1"):
            for target in ("m1", "logits"):
                expected = {tuple(p) for p in nx.all_simple_paths(components, source, target)}
                found = circuit.paths(source, target, limit=10**6)
                assert set(found) == expected
                assert len(found) == len(expected)
                assert [len(path) for path in found] == sorted(len(path) for path in found)


def test_the_first_paths_of_a_large_full_graph_come_at_once():
    # 2^(12 * 13) paths or so: only a search that never turns back ends
    graph = Graph(12, 12, 12)
    found = Circuit.full(graph).paths(limit=3)
    assert found == [
        ("input", "logits"),
        ("input", "a0.h0", "logits"),
        ("input", "a0.h1", "logits"),
    ]
    only_long = Circuit.of(
        graph,
        [f"m{layer}->a{layer + 1}.h{head}<q>" for layer in range(11) for head in range(12)]
        + [f"a{layer}.h{head}->m{layer}" for layer in range(1, 12) for head in range(12)],
    )
    path = only_long.paths("m0", "m11", limit=1)[0]
    assert path[:4] == ("m0", "a1.h0", "m1", "a2.h0")
    assert len(path) == 23


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_counts_add_up(graph):
    for circuit in circuits(graph):
        counts = wiring.counts(graph, circuit.kept)
        total = len(circuit)
        assert counts.input_out.sum() + counts.layer_out.sum() == total
        assert counts.layer_in.sum() + counts.logits_in == total
        assert sum(counts.by_reader_kind.values()) == total


def test_counts_are_where_the_edges_are():
    graph = Graph(2, 4, 2)
    names = ["input->a1.h3<q>", "a0.h2->a1.h1<v>", "m0->a1.h1<v>", "m0->m1", "m1->logits"]
    counts = Circuit.of(graph, names).summary()
    assert counts.input_out.tolist() == [1]
    assert counts.head_out.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.mlp_out.tolist() == [2, 1]
    assert counts.q_in.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert counts.k_in.tolist() == [[0, 0], [0, 0]]
    assert counts.v_in.tolist() == [[0, 0], [0, 2]]
    assert counts.mlp_in.tolist() == [0, 1]
    assert counts.logits_in == 1
    assert counts.layer_in.tolist() == [0, 4]
    assert counts.by_reader_kind == {"q": 1, "k": 0, "v": 2, "mlp": 1, "logits": 1}


def test_reads_fold_readers_into_components():
    graph = Graph(1, 4, 2)
    kept = Circuit.of(graph, ["input->a0.h1<k>", "input->a0.h0<q>", "a0.h2->m0"]).kept
    read = wiring.reads(graph, kept)
    assert read.shape == (7, 6)
    # kv head 1 serves query heads 2 and 3; query head 0 reads for itself; m0 reads head 2
    assert sorted(map(tuple, np.argwhere(read).tolist())) == [(1, 0), (3, 0), (4, 0), (5, 3)]


def test_a_norm_over_all_heads_joins_what_they_read():
    """a0.h1 keeps no edge of its own; only a norm over both heads lets the input reach it."""
    names = ["input->a0.h0<q>", "a0.h1->a1.h0<v>", "m0->a1.h1<k>", "a1.h0->logits"]
    assert not Circuit.of(Graph(2, 2, 2), names).alive.any()
    # a1.h1 changes the scale of a1.h0, but what it reads, m0, no edge joins to the input
    coupled = Circuit.of(Graph(2, 2, 2, coupled=True), names)
    assert coupled.pruned().edges == ("a0.h1->a1.h0<v>", "a1.h0->logits", "input->a0.h0<q>")
    read = wiring.reads(coupled.graph, coupled.kept)
    assert read[1:3].tolist() == [[True, False, False, False, False, False, False]] * 2
    assert coupled.paths("input", "logits") == [
        ("input", "a0.h1", "a1.h0", "logits"),
    ]
    also = Circuit.of(coupled.graph, [*names, "input->m0"])
    assert also.pruned() == also
