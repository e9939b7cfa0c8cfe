"""Which parts of a mask a masked run takes: readers of one place together, and where they read."""

import pytest
import torch

import tiny
from edgewise.cuts import Cuts
from edgewise.graph import Graph
from edgewise.plan import everything, plan


def numbered(graph: Graph) -> torch.Tensor:
    """A mask whose entries are all different."""
    count = graph.n_readers * graph.n_writers
    return torch.arange(1.0, count + 1).view(graph.n_readers, graph.n_writers)


def readers(graph: Graph, layer: int) -> list[int]:
    rows = graph.attention_readers(layer)
    return [*range(rows.start, rows.stop)]


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa"])
def test_the_last_queries_and_mlp_are_apart_where_the_logits_are_read_at_some_tokens(
    name: str,
) -> None:
    graph = tiny.model(name).graph
    last, mask = graph.n_layers - 1, numbered(graph)
    narrow = Cuts(everything(graph), mask, mask.dtype, narrow=True)
    everywhere = Cuts(everything(graph), mask, mask.dtype)
    whole = {n: [*readers(graph, n), graph.mlp_reader(n)] for n in range(graph.n_layers)}
    for layer, rows in whole.items():
        assert everywhere.block(layer).rows[:, 0].tolist() == rows
        expected = rows if layer < last else rows[graph.n_heads : -1]
        assert narrow.block(layer).rows[:, 0].tolist() == expected
        assert narrow.queries(layer).rows[:, 0].tolist() == rows[: graph.n_heads]
    end = graph.writers_before_attention(last)
    for cut in (narrow.queries(last), narrow.block(last)):
        torch.testing.assert_close(cut.mask, mask[cut.rows[:, 0], :end], rtol=0, atol=0)


def test_of_those_only_live_ones() -> None:
    graph = tiny.model("llama-gqa").graph
    last = graph.n_layers - 1
    query, key = readers(graph, last)[1], readers(graph, last)[graph.n_heads]
    mask = torch.zeros(graph.n_readers, graph.n_writers)
    mask[query, 0] = mask[key, 0] = 1.0
    mask[graph.logits_reader, graph.head_writer(last, 1)] = 1.0
    work = plan(graph, (mask != 0).numpy(), True)
    cuts = Cuts(work, mask, mask.dtype, narrow=True)
    assert cuts.queries(last).rows[:, 0].tolist() == [query]
    assert cuts.block(last).rows[:, 0].tolist() == [key]
