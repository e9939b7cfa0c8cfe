"""What the tests of the page open: a graph's scores, a report, heads' attention."""

from collections.abc import Callable

import numpy as np

from browser import Page
from edgewise.attention import Attention
from edgewise.circuit import Circuit
from edgewise.estimate import Estimate
from edgewise.graph import Graph
from edgewise.report import Report, Row, Sample
from edgewise.scores import EdgeScores

Open = Callable[..., Page]  # opens `view(circuit, ...)`

GRAPH = Graph(6, 6, 2)


def random_scores(graph: Graph, seed: int = 0, levels: int | None = None) -> EdgeScores:
    """Log-normal by writer and reader, so that circuits hang together; `levels` makes ties."""
    generator = np.random.default_rng(seed)
    writers, readers = (
        generator.normal(size=graph.n_writers),
        generator.normal(size=graph.n_readers),
    )
    values = writers[graph.writer_of] + readers[graph.reader_of]
    values = values + 0.5 * generator.normal(size=graph.n_edges)
    if levels is not None:
        values = np.round(values * levels) / levels
    return EdgeScores(graph, values.astype(np.float32))


def a_report(graph: Graph, circuit: Circuit, points: list[int]) -> Report:
    def estimates(shift: float) -> dict[str, Estimate]:
        return {
            "kl": Estimate(0.5 + shift, 0.4 + shift, 0.6 + shift),
            "exact_match": Estimate(0.75, 0.7, 0.8),
        }

    n, alive = len(circuit), int(circuit.alive.sum())
    rows = {
        "circuit": Row(n, alive, circuit.density, estimates(0.0)),
        "full": Row(graph.n_edges, graph.n_edges, 1.0, estimates(-0.4)),
        "empty": Row(0, 0, 0.0, estimates(2.0)),
    }

    def point(k: int, kl: float, match: float) -> Row:
        found = {"kl": Estimate(kl, 0.9 * kl, 1.1 * kl), "exact_match": Estimate(match, 0.2, 0.9)}
        return Row(k, k, k / graph.n_edges, found)

    curve = tuple(point(k, 2 / (1 + i), 0.3 + 0.1 * i) for i, k in enumerate(points))
    sample = Sample(
        "A </script><b>bold</b> claim by", "Another claim by", " Mary",
        ((" Mary", 0.8), (" John", 0.1)), ((" John", 0.5), (" Mary", 0.4)),
    )  # fmt: skip
    return Report(
        "tiny", "ioi", "test", "interchange", 64, graph.n_edges, rows, (sample,), {"value": curve}
    )


def patterns(n_tokens: int = 5, seed: int = 0) -> Attention:
    weights = np.random.default_rng(seed).random((2, 3, n_tokens, n_tokens))
    tokens = tuple(f" t{i}" for i in range(n_tokens))
    return Attention(tokens, ("a4.h1", "a1.h5", "a1.h2"), *weights.astype(np.float32))
