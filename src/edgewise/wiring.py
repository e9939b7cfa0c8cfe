"""What the kept edges of a graph connect: reach, paths and counts, from (graph, kept) alone.

Readers feed components: component c (a writer by its column, or the logits at index W) reads what
its own readers read, and query head h also reads through the keys and values of its kv head
h // (H / G). In a coupled graph every head of a block reads what any of them reads: a norm over all
heads carries it over. So edges fold into a matrix reads[c, w], and every question is a walk on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from edgewise.graph import Graph


def reads(graph: Graph, kept: Bool[np.ndarray, " E"]) -> Bool[np.ndarray, "N W"]:
    """Whether component c reads writer w through any kept edge; the last of the N = W + 1 rows is
    the logits. Every component reads a free input.
    """
    heads, groups = graph.n_heads, graph.n_kv_heads
    mask_RW = graph.dense(kept)
    read = np.zeros((graph.n_writers + 1, graph.n_writers), bool)
    for layer in range(graph.n_layers):
        qkv = mask_RW[graph.attention_readers(layer)]
        shared = qkv[heads : heads + groups] | qkv[heads + groups :]
        own = qkv[:heads] | shared.repeat(heads // groups, axis=0)
        first = graph.head_writer(layer, 0)
        read[first : first + heads] = own.any(axis=0) if graph.coupled else own
        read[graph.mlp_writer(layer)] = mask_RW[graph.mlp_reader(layer)]
    read[graph.n_writers] = mask_RW[graph.logits_reader]
    return read


def alive(graph: Graph, kept: Bool[np.ndarray, " E"]) -> Bool[np.ndarray, " E"]:
    """The kept edges that lie on a path from an input to the logits.

    An input is reached; a component is reached if it reads a reached one. The logits lead to the
    logits; a component leads there if one that does reads it. An edge is alive if it is kept, its
    writer is reached and its reader belongs to a component that leads to the logits (a k or v
    reader belongs to every query head of its group, and any of a coupled block to all its heads).
    """
    open_ = graph.dense(kept)
    needed, leads = needed_by_logits(graph, open_), np.ones(graph.n_readers, bool)
    for layer in range(graph.n_layers):
        first = graph.writers_before_attention(layer)
        heads = needed[first : first + graph.n_heads]
        leads[graph.attention_readers(layer)] = readers_of(graph, heads)
        leads[graph.mlp_reader(layer)] = needed[graph.mlp_writer(layer)]
    return kept & reached(graph, open_)[graph.writer_of] & leads[graph.reader_of]


def needed_by_logits(graph: Graph, open_: Bool[np.ndarray, "R W"]) -> np.ndarray:
    """Writers from which open edges lead to the logits."""
    needed = open_[graph.logits_reader].copy()
    for layer in reversed(range(graph.n_layers)):
        if needed[graph.mlp_writer(layer)]:
            needed |= open_[graph.mlp_reader(layer)]
        first = graph.writers_before_attention(layer)
        readers = readers_of(graph, needed[first : first + graph.n_heads])
        needed |= open_[graph.attention_readers(layer)][readers].any(0)
    return needed


def readers_of(graph: Graph, heads: Bool[np.ndarray, " H"]) -> np.ndarray:
    """Which of a block's H + 2G readers the writes of `heads` depend on."""
    if graph.coupled:
        return np.full(graph.n_attention_readers, heads.any())
    groups = heads.reshape(graph.n_kv_heads, -1).any(1)
    return np.concatenate([heads, groups, groups])


def reached(graph: Graph, open_: Bool[np.ndarray, "R W"]) -> np.ndarray:
    """Writers that open edges reach from an input."""
    group = np.arange(graph.n_heads) // (graph.n_heads // graph.n_kv_heads)
    found = np.zeros(graph.n_writers, bool)
    found[: graph.n_inputs] = True
    for layer in range(graph.n_layers):
        rows = (open_[graph.attention_readers(layer)] & found).any(1)
        q, k, v = np.split(rows, [graph.n_heads, graph.n_heads + graph.n_kv_heads])
        first = graph.writers_before_attention(layer)
        heads = q | k[group] | v[group]
        found[first : first + graph.n_heads] = heads.any() if graph.coupled else heads
        seen = graph.writers_before_mlp(layer)
        found[graph.mlp_writer(layer)] = (open_[graph.mlp_reader(layer)] & found)[:seen].any()
    return found


def paths(
    graph: Graph, kept: Bool[np.ndarray, " E"], source: int, target: int
) -> Iterator[tuple[int, ...]]:
    """The paths of components from `source` to `target`, shortest first, then in writer order.

    n_hops[c] is the set of lengths of the paths from c to the target, as the bits of an integer. A
    walk that has n hops left and goes only to components with bit n - 1 never has to turn back: a
    path costs its own length, however many there are.
    """
    read = reads(graph, kept)
    n_hops = [0] * (graph.n_writers + 1)
    n_hops[target] = 1
    for component in range(target, source, -1):
        if n_hops[component]:
            for writer in np.flatnonzero(read[component, :target]).tolist():
                n_hops[writer] |= n_hops[component] << 1

    def walk(path: tuple[int, ...], left: int) -> Iterator[tuple[int, ...]]:
        if not left:
            yield path
            return
        for reader in np.flatnonzero(read[:, path[-1]]).tolist():
            if n_hops[reader] >> (left - 1) & 1:
                yield from walk((*path, reader), left - 1)

    for length in range(n_hops[source].bit_length()):
        if n_hops[source] >> length & 1:
            yield from walk((source,), length)


@dataclass(frozen=True, eq=False)
class Counts:
    """Kept edges out of each writer and into each reader."""

    input_out: Int[np.ndarray, " inputs"]
    head_out: Int[np.ndarray, "L H"]
    mlp_out: Int[np.ndarray, " L"]
    q_in: Int[np.ndarray, "L H"]
    k_in: Int[np.ndarray, "L G"]
    v_in: Int[np.ndarray, "L G"]
    mlp_in: Int[np.ndarray, " L"]
    logits_in: int

    @property
    def layer_out(self) -> Int[np.ndarray, " L"]:
        """Edges out of each layer's heads and MLP."""
        return self.head_out.sum(axis=1) + self.mlp_out

    @property
    def layer_in(self) -> Int[np.ndarray, " L"]:
        """Edges into each layer's heads and MLP."""
        return sum(kind.sum(axis=1) for kind in (self.q_in, self.k_in, self.v_in)) + self.mlp_in

    @property
    def by_reader_kind(self) -> dict[str, int]:
        """Edges into all "q", "k", "v", "mlp" and "logits" readers; they add up to all edges."""
        kinds = {"q": self.q_in, "k": self.k_in, "v": self.v_in, "mlp": self.mlp_in}
        return {kind: int(edges.sum()) for kind, edges in kinds.items()} | {
            "logits": self.logits_in
        }


def counts(graph: Graph, kept: Bool[np.ndarray, " E"]) -> Counts:
    """Counts the kept edges at every component."""
    out = np.bincount(graph.writer_of[kept], minlength=graph.n_writers)
    into = np.bincount(graph.reader_of[kept], minlength=graph.n_readers)
    layers, heads, groups = graph.n_layers, graph.n_heads, graph.n_kv_heads
    blocks_out = out[graph.n_inputs :].reshape(layers, -1)
    q_in, k_in, v_in, mlp_in = np.split(
        into[:-1].reshape(layers, -1), [heads, heads + groups, heads + 2 * groups], axis=1
    )
    return Counts(
        input_out=out[: graph.n_inputs],
        head_out=blocks_out[:, :heads],
        mlp_out=blocks_out[:, heads],
        q_in=q_in,
        k_in=k_in,
        v_in=v_in,
        mlp_in=mlp_in[:, 0],
        logits_in=int(into[-1]),
    )
