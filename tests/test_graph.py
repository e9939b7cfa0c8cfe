import json

import numpy as np
import pytest

from edgewise.errors import GraphError
from edgewise.graph import Graph
from unchecked import unchecked

# layers, heads, kv heads; edges with free, joint and split embeddings
COUNTS = {
    "gpt2": (12, 12, 12, 32_046, 32_491, 32_936),
    "gpt2-medium": (24, 16, 16, 230_700, 231_877, 233_054),
    "gpt2-large": (36, 20, 20, 808_506, 810_703, 812_900),
    "gpt2-xl": (48, 25, 25, 2_231_376, 2_235_025, 2_238_674),
    "distilgpt2": (6, 12, 12, 7_365, 7_588, 7_811),
    "codellama-7b": (32, 32, 32, 1_589_776, 1_592_881, None),
    "codellama-13b": (40, 40, 40, 3_872_820, 3_877_661, None),
    "llama-3-8b": (32, 32, 8, 804_112, 805_681, None),
    "llama-3.2-1b": (16, 32, 8, 195_080, 195_865, None),
    "llama-3.2-3b": (28, 24, 8, 388_822, 389_971, None),
    "qwen2.5-0.5b": (24, 14, 2, 79_356, 79_813, None),
    "qwen2.5-1.5b": (28, 12, 2, 84_238, 84_715, None),
    "gemma-2-2b": (26, 8, 4, 50_167, 50_610, None),
    "smollm2-135m": (30, 9, 3, None, 70_651, None),
    "tracr-xproportion": (2, 1, 1, 14, 23, 32),
    "tracr-reverse": (4, 1, 1, 60, 77, 94),
}

SMALL = [
    Graph(2, 4, 2, parallel, embeddings)
    for parallel in (False, True)
    for embeddings in ("joint", "split", "free")
]


@pytest.mark.parametrize("model", COUNTS)
def test_edge_counts_of_known_models(model):
    layers, heads, groups, *counts = COUNTS[model]
    for embeddings, count in zip(("free", "joint", "split"), counts, strict=True):
        if count is not None:
            assert Graph(layers, heads, groups, embeddings=embeddings).n_edges == count


def test_a_graph_worked_out_by_hand():
    graph = Graph(n_layers=1, n_heads=2, n_kv_heads=1)
    assert graph.writers == ("input", "a0.h0", "a0.h1", "m0")
    assert graph.readers == ("a0.h0<q>", "a0.h1<q>", "a0.h0<k>", "a0.h0<v>", "m0", "logits")
    assert graph.valid.astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]
    assert graph.n_edges == 11
    assert graph.name(6) == "a0.h1->m0"
    assert graph.name(10) == "m0->logits"


def test_parallel_blocks_have_no_edge_from_their_own_heads_to_their_mlp():
    graph = Graph(1, 2, 1, parallel=True)
    assert graph.valid[graph.mlp_reader(0)].tolist() == [True, False, False, False]
    assert graph.valid[graph.logits_reader].all()
    assert graph.n_edges == 9


def test_split_embeddings_are_two_writers():
    graph = Graph(1, 1, 1, embeddings="split")
    assert graph.writers == ("tok", "pos", "a0.h0", "m0")
    assert graph.name(1) == "pos->a0.h0<q>"


def test_a_free_input_is_seen_by_all_and_no_edge():
    graph = Graph(1, 1, 1, embeddings="free")
    assert graph.causal[:, 0].all()
    assert not graph.valid[:, 0].any()
    assert [graph.name(edge) for edge in range(graph.n_edges)] == [
        "a0.h0->m0",
        "a0.h0->logits",
        "m0->logits",
    ]


@pytest.mark.parametrize("graph", SMALL, ids=str)
class TestArithmetic:
    def test_counts_agree_with_names_and_arrays(self, graph):
        assert graph.n_writers == len(graph.writers) == len(set(graph.writers))
        assert graph.n_readers == len(graph.readers) == len(set(graph.readers))
        assert graph.causal.shape == graph.valid.shape == (graph.n_readers, graph.n_writers)
        assert graph.n_edges == graph.valid.sum() == graph.reader_of.size == graph.writer_of.size

    def test_edges_are_numbered_reader_by_reader(self, graph):
        readers, writers = np.nonzero(graph.valid)
        assert graph.reader_of.dtype == graph.writer_of.dtype == np.int32
        np.testing.assert_array_equal(graph.reader_of, readers)
        np.testing.assert_array_equal(graph.writer_of, writers)

    def test_names_round_trip(self, graph):
        names = graph.names(np.arange(graph.n_edges))
        assert len(set(names)) == graph.n_edges
        assert names == [graph.name(edge) for edge in range(graph.n_edges)]
        assert [graph.index(name) for name in names] == list(range(graph.n_edges))

    def test_accessors_find_the_names_they_should(self, graph):
        for layer in range(graph.n_layers):
            rows = graph.readers[graph.attention_readers(layer)]
            assert len(rows) == graph.n_heads + 2 * graph.n_kv_heads
            for head in range(graph.n_heads):
                assert graph.writers[graph.head_writer(layer, head)] == f"a{layer}.h{head}"
                assert graph.readers[graph.q_reader(layer, head)] == f"a{layer}.h{head}<q>"
            for group in range(graph.n_kv_heads):
                assert graph.readers[graph.k_reader(layer, group)] == f"a{layer}.h{group}<k>"
                assert graph.readers[graph.v_reader(layer, group)] == f"a{layer}.h{group}<v>"
            assert graph.writers[graph.mlp_writer(layer)] == f"m{layer}"
            assert graph.readers[graph.mlp_reader(layer)] == f"m{layer}"
        assert graph.readers[graph.logits_reader] == "logits"

    def test_a_reader_sees_as_many_leading_writers_as_said(self, graph):
        for layer in range(graph.n_layers):
            before = graph.writers_before_attention(layer)
            assert (graph.causal[graph.attention_readers(layer)].sum(axis=1) == before).all()
            assert graph.causal[graph.q_reader(layer, 0), before - 1]
            before_mlp = graph.writers_before_mlp(layer)
            assert graph.causal[graph.mlp_reader(layer)].sum() == before_mlp
            assert before_mlp - before == (0 if graph.parallel else graph.n_heads)

    def test_dense_and_back(self, graph):
        values = np.arange(1, graph.n_edges + 1, dtype=np.float32)
        matrix = graph.dense(values, fill_free=7.0)
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix[graph.valid], values)
        free = graph.causal & ~graph.valid
        assert (matrix[free] == 7).all()
        assert free.any() == (graph.embeddings == "free")
        assert (matrix[~graph.causal] == 0).all()
        mask = graph.dense(np.zeros(graph.n_edges, bool))
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, free)

    def test_json_rebuilds_it(self, graph):
        rebuilt = Graph.from_json(json.loads(json.dumps(graph.to_json())))
        assert rebuilt == graph
        assert hash(rebuilt) == hash(graph)
        assert rebuilt.readers == graph.readers


def test_arrays_are_read_only():
    graph = Graph(1, 1, 1)
    for array in (graph.valid, graph.causal, graph.reader_of, graph.writer_of):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("input", "is no edge name: write 'writer->reader'"),
        ("inptu->m0", "there is no writer 'inptu'; did you mean 'input'"),
        ("xyz->m0", "there is no writer 'xyz'; the last is 'm1'"),
        ("m1->m0", "'m1' writes only after 'm0' reads"),
        ("m0->m0", "'m0' writes only after 'm0' reads"),
        ("input->a0.h1", r"there is no reader 'a0.h1'; did you mean .*'a0.h1<q>'"),
        ("input->a0.h2<k>", "there is no reader 'a0.h2<k>'"),
        ("input->m0 ", "there is no reader 'm0 '; did you mean 'm0'"),
        ("tok->m0", "there is no writer 'tok'"),
    ],
)
def test_unknown_edges_are_refused_with_the_part_that_is_wrong(name, message):
    graph = Graph(2, 4, 2)
    with pytest.raises(GraphError, match=message) as caught:
        graph.index(name)
    assert repr(name) in str(caught.value)


def test_a_free_input_is_no_edge_by_name():
    with pytest.raises(GraphError, match="embeddings='joint'"):
        Graph(2, 4, 2, embeddings="free").index("input->m0")


@pytest.mark.parametrize("embeddings", ["joint", "split", "free"])
def test_edges_and_layers_by_reader(embeddings):
    graph = Graph(3, 4, 2, embeddings=embeddings)
    for reader, name in enumerate(graph.readers):
        edges = graph.edges_into(reader)
        assert list(edges) == np.flatnonzero(graph.reader_of == reader).tolist()
        layer, row = graph.place(reader)
        if name == "logits":
            assert (layer, row) == (3, 0)
        elif name.startswith("m"):
            assert (layer, reader) == (int(name[1:]), graph.mlp_reader(layer))
        else:
            assert name.startswith(f"a{layer}.")
            assert row == reader - graph.attention_readers(layer).start


def test_indices_out_of_range_are_refused():
    graph = Graph(2, 4, 2)
    for call in (
        lambda: graph.name(graph.n_edges),
        lambda: graph.name(-1),
        lambda: graph.head_writer(2, 0),
        lambda: graph.q_reader(0, 4),
        lambda: graph.k_reader(0, 2),
        lambda: graph.mlp_reader(-1),
        lambda: graph.place(graph.n_readers),
        lambda: graph.edges_into(-1),
    ):
        with pytest.raises(GraphError, match="they run from 0 to"):
            call()


def test_values_of_another_length_are_refused():
    with pytest.raises(GraphError, match=r"shape \(3,\), but the graph has 11 edges"):
        Graph(1, 2, 1).dense(np.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layers": 0}, "n_layers must be a whole number from 1, not 0"),
        ({"n_heads": 6, "n_kv_heads": 4}, "6 heads can't share 4 key/value heads"),
        ({"embeddings": "tied"}, "'joint', 'split', 'free', not 'tied'"),
        ({"n_heads": 2.0}, "n_heads must be a whole number"),
        ({"parallel": 1}, "parallel must be True or False"),
        ({"coupled": 1}, "coupled must be True or False"),
        ({"width": 3}, r"unknown graph settings \['width'\]"),
    ],
)
def test_settings_that_make_no_graph_are_refused(settings, message):
    with unchecked(), pytest.raises(GraphError, match=message):
        Graph.from_json({"n_layers": 1, "n_heads": 1, "n_kv_heads": 1} | settings)


def test_missing_settings_are_named():
    with pytest.raises(GraphError, match=r"\['n_kv_heads'\] are missing"):
        Graph.from_json({"n_layers": 1, "n_heads": 1})
