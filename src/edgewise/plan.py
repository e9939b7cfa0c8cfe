"""What a masked run has to compute: the readers and writers that a mask's zeros leave alive.

A writer that no live reader reads can't change the logits, and under interchange ablation one that
no edge from an input reaches writes exactly what it wrote in the ablated run: its difference is
zero. Neither needs work, and leaving them out changes no bit of the rest. The gradient is then
exact for every open edge between live parts, and isn't computed elsewhere; a hard-concrete gate
clipped at 0 has no gradient anyway, so training loses nothing. Attribution needs the gradient of
absent edges too, and asks for everything.

Where a norm spans all heads of a block (`Graph.coupled`: a post-norm's scale, a joint q/k norm),
what one head reads changes what all of them write: coupled heads are reached together, and one that
is needed needs the readers of all.

Live writers are packed in order in the difference buffer: writer w is in column `before(w)`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from edgewise.graph import Graph
from edgewise.wiring import needed_by_logits, reached, readers_of


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """One block's live parts. Readers are rows of the block's H + 2G, heads its H."""

    readers: Int[np.ndarray, " r"]
    heads: Int[np.ndarray, " h"]
    mlp: bool

    def parted(self, n_heads: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
        """The queries, which come first, and the keys and values among the readers."""
        first = int(np.searchsorted(self.readers, n_heads))
        return self.readers[:first], self.readers[first:]


@dataclass(frozen=True, eq=False)
class Plan:
    """Live parts of every block, and the packed columns of live writers."""

    graph: Graph
    live: Bool[np.ndarray, " W"]
    layers: tuple[LayerPlan, ...]
    complete: bool  # nothing is left out, absent edges included

    @property
    def n_live(self) -> int:
        return self.before(self.graph.n_writers)

    def before(self, writers: int) -> int:
        """How many live writers are among the first `writers`."""
        return self._before[writers]

    @cached_property
    def _before(self) -> list[int]:
        return [0, *np.cumsum(self.live).tolist()]


def everything(graph: Graph) -> Plan:
    """The plan that leaves nothing out."""
    rows = np.arange(graph.n_attention_readers)
    layer = LayerPlan(rows, np.arange(graph.n_heads), True)
    return Plan(graph, np.ones(graph.n_writers, bool), (layer,) * graph.n_layers, True)


def plan(graph: Graph, open_: Bool[np.ndarray, "R W"], from_inputs: bool) -> Plan:
    """What is alive when only the edges `open_` are non-zero.

    from_inputs   also drop what no edge from an input reaches: exact under interchange ablation
                  only
    """
    needed = needed_by_logits(graph, open_)
    live = needed & reached(graph, open_) if from_inputs else needed
    layers = []
    for layer in range(graph.n_layers):
        first = graph.writers_before_attention(layer)
        heads = live[first : first + graph.n_heads]
        rows = open_[graph.attention_readers(layer), :first] & live[:first]
        readers = rows.any(1) & readers_of(graph, heads)
        layers.append(
            LayerPlan(
                np.flatnonzero(readers), np.flatnonzero(heads), bool(live[graph.mlp_writer(layer)])
            )
        )
    return Plan(graph, live, tuple(layers), False)
