"""The JSON of EAP-IG and the MIB benchmark, to and from circuits and scores.

    {"cfg": {"n_layers", "n_heads", "parallel_attn_mlp", "d_model"},
     "nodes": {"a0.h1": {"in_graph": true}, ...},
     "edges": {"input->a0.h1<k>": {"score": 0.5, "in_graph": true}, ...}}

Every edge is listed. Edge names are ours but for one thing: that graph has no kv heads, so under
grouped-query attention each query head has key and value edges of its own (u below, of n copies):

    writing    kept_u = kept_e      score_u = score_e / n
    reading    kept_e = any kept_u  score_e = sum score_u

The sum is what an attribution score means: the first-order effect of all copies together. There is
one "input", so `split` embeddings can't be written; a `free` input is written as edges that are all
kept.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from edgewise import wiring
from edgewise.errors import GraphError, RunError
from edgewise.graph import Graph


def to_json(
    graph: Graph,
    kept: Bool[np.ndarray, " E"],
    scores: Float32[np.ndarray, " E"] | None = None,
    width: int = 1,
) -> str:
    """The file's text; without scores an edge scores 1 if kept, else 0.

    `width` is the model's D, which sizes EAP-IG's tables of neurons: without neurons any will do.
    Raises GraphError for `split` embeddings.
    """
    if graph.embeddings == "split":
        raise GraphError(
            "EAP-IG has one 'input' where this graph has 'tok' and 'pos': "
            "find the circuit with embeddings='joint', or export it in another format"
        )
    copies, numbers = ungrouped(graph), original(graph)
    weights = (kept if scores is None else scores).astype(np.float64)
    # a free input must be first in any ranking
    weights = np.append(weights, np.abs(weights).max(initial=1.0))[numbers]
    weights /= _copies(graph)[_row_of(graph)[copies.reader_of]]
    edges = ",\n".join(
        f'"{name}": {{"score": {json.dumps(score)}, "in_graph": {json.dumps(in_graph)}}}'
        for name, score, in_graph in zip(
            copies.names(np.arange(copies.n_edges)),
            weights.tolist(),
            np.append(kept, True)[numbers].tolist(),
            strict=True,
        )
    )
    cfg = {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "parallel_attn_mlp": graph.parallel,
        "d_model": width,
    }
    read = wiring.reads(graph, kept)
    in_graph = read.any(axis=0) & read.any(axis=1)[:-1]
    in_graph[: graph.n_inputs] = True
    nodes = dict(zip(graph.writers, ({"in_graph": bool(node)} for node in in_graph), strict=True))
    nodes["logits"] = {"in_graph": True}
    head = f'"cfg": {json.dumps(cfg)},\n"nodes": {json.dumps(nodes)},\n'
    return f'{{\n{head}"edges": {{\n{edges}\n}}\n}}\n'


def read_kept(text: str, graph: Graph) -> Bool[np.ndarray, " E"]:
    """The edges of `graph` that are in a file's circuit.

    Raises RunError if the text is no such file, GraphError if it is of another graph, naming the
    first edge that `graph` doesn't have, or that a `free` input can't cut.
    """
    copies = ungrouped(graph)
    kept = np.zeros(copies.n_edges, bool)
    for edge, entry in _edges(text, graph, copies):
        in_graph = entry.get("in_graph")
        if not isinstance(in_graph, bool):
            raise RunError(
                f"edge {copies.name(edge)!r}: in_graph is {in_graph!r}, not true or false"
            )
        kept[edge] = in_graph
    folded_RW = _folded(graph, copies.dense(kept).astype(np.int64)) > 0
    if graph.embeddings == "free" and not folded_RW[:, 0].all():
        cut = graph.readers[int(folded_RW[:, 0].argmin())]
        raise GraphError(
            f"edge 'input->{cut}' is cut, which a graph with free embeddings can't say: "
            f"read the file into one with embeddings='joint'"
        )
    return folded_RW[graph.valid]


def read_scores(text: str, graph: Graph) -> Float32[np.ndarray, " E"]:
    """The scores of `graph`'s edges; errors as for `read_kept`, and RunError if one is missing."""
    copies = ungrouped(graph)
    scores = np.full(copies.n_edges, np.nan)
    found = np.zeros(copies.n_edges, bool)
    for edge, entry in _edges(text, graph, copies):
        score = entry.get("score")
        if not isinstance(score, int | float):
            raise RunError(f"edge {copies.name(edge)!r}: its score is {score!r}, not a number")
        scores[edge], found[edge] = score, True
    if not found.all():
        raise RunError(f"edge {copies.name(int(found.argmin()))!r} has no score")
    return _folded(graph, copies.dense(scores))[graph.valid].astype(np.float32)


def _edges(text: str, graph: Graph, copies: Graph) -> list[tuple[int, Mapping[str, Any]]]:
    """(edge of the ungrouped graph, its entry) for every edge of the file."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise RunError(f"no JSON: {error}") from error
    for key in ("cfg", "nodes", "edges"):
        if not isinstance(data, dict) or not isinstance(data.get(key), dict):
            raise RunError(f"no circuit of EAP-IG: {key!r} must be there and an object")
    settings = {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "parallel_attn_mlp": graph.parallel,
    }
    for key, expected in settings.items():
        if data["cfg"].get(key) != expected:
            raise GraphError(
                f"{key} is {data['cfg'].get(key)!r}, but {expected!r} in the graph it is read for"
            )
    for node, entry in data["nodes"].items():
        if isinstance(entry, dict) and not all(entry.get("neurons") or [True]):
            raise RunError(
                f"node {node!r} keeps some of its neurons only; edgewise cuts whole edges"
            )
    edges = []
    for name, entry in data["edges"].items():
        edge = copies.index(name)
        if not isinstance(entry, dict):
            raise RunError(f"edge {name!r} is {entry!r}, not an object with 'score' and 'in_graph'")
        edges.append((edge, entry))
    return edges


def ungrouped(graph: Graph) -> Graph:
    """The graph of EAP-IG for the same model."""
    return Graph(graph.n_layers, graph.n_heads, graph.n_heads, graph.parallel)


def original(graph: Graph) -> Int[np.ndarray, " ungrouped_E"]:
    """The edge of `graph` that each of the ungrouped graph is a copy of; -1 for a free input's."""
    copies = ungrouped(graph)
    numbers_RW = graph.dense(np.arange(graph.n_edges), fill_free=-1.0)
    return numbers_RW[_row_of(graph)[copies.reader_of], copies.writer_of]


def _row_of(graph: Graph) -> Int[np.ndarray, " ungrouped_R"]:
    """The row of `graph` that each row of the ungrouped graph is a copy of."""
    heads, groups = np.arange(graph.n_heads), graph.n_kv_heads
    shared = heads // (graph.n_heads // groups)
    keys, values = graph.n_heads + shared, graph.n_heads + groups + shared
    layer = np.concatenate([heads, keys, values, [graph.n_heads + 2 * groups]])
    starts = [graph.attention_readers(index).start for index in range(graph.n_layers)]
    return np.append(np.add.outer(starts, layer).ravel(), graph.logits_reader)


def _copies(graph: Graph) -> Int[np.ndarray, " R"]:
    return np.bincount(_row_of(graph))


def _folded(graph: Graph, ungrouped_RW: np.ndarray) -> np.ndarray:
    """Sums the copies of each row."""
    folded = np.zeros((graph.n_readers, graph.n_writers), ungrouped_RW.dtype)
    np.add.at(folded, _row_of(graph), ungrouped_RW)
    return folded
