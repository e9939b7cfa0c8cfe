"""What a plan keeps, against a search through the graph of readers and writers."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from edgewise.graph import Graph
from edgewise.plan import everything, plan

GRAPHS = [
    Graph(1, 1, 1),
    Graph(2, 3, 3),
    Graph(3, 4, 2),
    Graph(2, 4, 1, parallel=True),
    Graph(2, 3, 3, embeddings="split"),
    Graph(2, 4, 2, parallel=True, embeddings="free"),
]


def arrows(graph: Graph, open_: np.ndarray) -> nx.DiGraph:
    """Writers ("w", column) to the readers ("r", row) they open into, readers to what they feed."""
    found = nx.DiGraph()
    found.add_nodes_from([("w", w) for w in range(graph.n_writers)])
    found.add_nodes_from([("r", r) for r in range(graph.n_readers)])
    found.add_edges_from((("w", w), ("r", r)) for r, w in zip(*np.nonzero(open_), strict=True))
    for layer in range(graph.n_layers):
        found.add_edge(("r", graph.mlp_reader(layer)), ("w", graph.mlp_writer(layer)))
        for head in range(graph.n_heads):
            group = head * graph.n_kv_heads // graph.n_heads
            rows = [graph.q_reader(layer, head)]
            rows += [graph.k_reader(layer, group), graph.v_reader(layer, group)]
            if graph.coupled:
                rows = range(graph.n_readers)[graph.attention_readers(layer)]
            found.add_edges_from((("r", r), ("w", graph.head_writer(layer, head))) for r in rows)
    return found


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("from_inputs", [False, True])
def test_a_plan_keeps_what_lies_on_a_path(graph: Graph, coupled: bool, from_inputs: bool) -> None:
    graph = replace(graph, coupled=coupled)
    random = np.random.default_rng(0)
    free = graph.causal & ~graph.valid
    for density in (0, 0.02, 0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 1):
        open_ = graph.valid & (random.random(graph.valid.shape) < density) | free
        found = arrows(graph, open_)
        useful = nx.ancestors(found, ("r", graph.logits_reader)) | {("r", graph.logits_reader)}
        reached = {("w", w) for w in range(graph.n_inputs)}
        reached = reached.union(*(nx.descendants(found, writer) for writer in reached))
        alive = useful & reached if from_inputs else useful
        work = plan(graph, open_, from_inputs)

        live = np.array([("w", w) in alive for w in range(graph.n_writers)])
        np.testing.assert_array_equal(work.live, live)
        assert work.n_live == live.sum()
        for layer, todo in enumerate(work.layers):
            rows = graph.attention_readers(layer)
            readers = [
                r - rows.start
                for r in range(graph.n_readers)[rows]
                if (open_[r] & live).any()
                and any(("w", w) in alive for w in heads_fed_by(found, r))
            ]
            assert todo.readers.tolist() == readers
            heads = [h for h in range(graph.n_heads) if live[graph.head_writer(layer, h)]]
            assert todo.heads.tolist() == heads
            assert todo.mlp == live[graph.mlp_writer(layer)]


def heads_fed_by(found: nx.DiGraph, reader: int) -> list[int]:
    return [writer for _, writer in found.successors(("r", reader))]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_all_edges_open_are_everything(graph: Graph) -> None:
    whole, open_ = everything(graph), plan(graph, graph.causal, from_inputs=True)
    assert whole.live.all()
    np.testing.assert_array_equal(whole.live, open_.live)
    for one, other in zip(whole.layers, open_.layers, strict=True):
        assert one.readers.tolist() == other.readers.tolist()
        assert one.heads.tolist() == other.heads.tolist()
        assert one.mlp
        assert other.mlp


def test_a_plan_worked_out_by_hand() -> None:
    """a0.h0 reads the input by its query and is read by m1, which nothing joins to the logits."""
    graph = Graph(2, 2, 1)
    open_ = np.zeros((graph.n_readers, graph.n_writers), bool)
    for name in ("input->a0.h0<q>", "a0.h0->m1", "a0.h1->logits", "input->m0", "m0->logits"):
        edge = graph.index(name)
        open_[graph.reader_of[edge], graph.writer_of[edge]] = True
    assert [graph.writers[w] for w in np.flatnonzero(plan(graph, open_, True).live)] == [
        "input",
        "m0",
    ]
    # Without pairs to interchange, a head that reads nothing still writes, and is needed.
    assert [graph.writers[w] for w in np.flatnonzero(plan(graph, open_, False).live)] == [
        "input",
        "a0.h1",
        "m0",
    ]
    # Under a norm over both heads, what a0.h0 reads changes what a0.h1 writes.
    work = plan(replace(graph, coupled=True), open_, True)
    assert [graph.writers[w] for w in np.flatnonzero(work.live)] == ["input", "a0.h1", "m0"]
    assert work.layers[0].readers.tolist() == [graph.q_reader(0, 0)]
    assert work.layers[0].heads.tolist() == [1]


def test_columns_are_packed_in_order() -> None:
    graph = Graph(2, 2, 2)
    open_ = np.zeros((graph.n_readers, graph.n_writers), bool)
    open_[graph.logits_reader, [0, 2, 4]] = True
    work = plan(graph, open_, from_inputs=False)
    assert [work.before(w) for w in (0, 2, 4)] == [0, 1, 2]
    assert work.before(graph.n_writers) == work.n_live == 3
