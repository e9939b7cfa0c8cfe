"""Exact edge patching: what does the model lose without this one edge? All edges, one by one.

    score = M(full) - M(full without the edge)

with M the metric of `attribution`, or -KL(full || circuit). EAP's score is its first-order
approximation. As in ACDC, a run begins at the edge's reader, and several edges into one reader are
removed side by side, each from the full model (`suffix`). It takes a run of half the model, on
average, for every edge and prompt: it is the oracle for small models.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch

from edgewise.discovery.attribution import MetricOrKL, measured
from edgewise.discovery.found import Result, Search, check_fields, check_size
from edgewise.discovery.journal import Journal
from edgewise.discovery.ranking import ranked
from edgewise.discovery.trials import Trials
from edgewise.graph import Graph
from edgewise.scores import Order
from edgewise.stream import as_mask


@dataclass(frozen=True)
class ExactPatching:
    """Remove every edge alone and measure.

    density, edges    size of the circuit: one of the two
    metric            as of `EAP`, or "kl"
    order             "magnitude" keeps edges of large effect either way, "value" those that help
    prompts           of the training split (None: all), held in memory together
    batch_size        prompts at a time
    trials            removals that are measured together, on `batch_size` prompts each
    """

    name: ClassVar[str] = "exact"
    density: float | None = 0.02
    edges: int | None = None
    metric: MetricOrKL = "logit_difference"
    order: Order = "magnitude"
    prompts: int | None = 32
    batch_size: int = 16
    trials: int = 8

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, prompts=1, batch_size=1, trials=1)
        check_size(self.density, self.edges, graph)


def exact(method: ExactPatching, search: Search) -> Result:
    """Rank edges by their effects, from the last checkpoint if there is one."""
    graph, mask = search.model.graph, as_mask(search.model, None)
    trials = Trials(search, method.batch_size, method.prompts, method.trials)
    measure = partial(trials.measure, partial(measured, method.metric), mask)
    journal = Journal(search, "patching", graph.n_edges)
    saved = journal.restore()
    effects = torch.zeros(graph.n_edges, dtype=torch.float64)
    done, effects = (0, effects) if saved is None else (saved[0], saved[1]["effects"])
    (full,) = measure(graph.logits_reader, [[]])
    for reader in range(graph.n_readers):
        edges = graph.edges_into(reader)
        if not edges or edges.stop <= done:
            continue
        for start in range(edges.start, edges.stop, method.trials):
            some = range(start, min(start + method.trials, edges.stop))
            without = measure(reader, [[edge] for edge in some])
            effects[some.start : some.stop] = full - torch.tensor(without, dtype=torch.float64)
        journal.write(edges.stop, {"effects": effects})
    result = ranked(search, effects, method.density, method.edges, method.order)
    return replace(result, history=tuple(journal.history))
