"""Random: a ranking in which every order is equally likely; what a method must beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from edgewise.discovery.found import Result, Search, check_fields, check_size
from edgewise.discovery.ranking import ranked
from edgewise.graph import Graph


@dataclass(frozen=True)
class Random:
    """Edges in an order drawn by the seed of `discover`; no prompt is looked at.

    density, edges    size of the circuit: one of the two
    """

    name: ClassVar[str] = "random"
    density: float | None = 0.02
    edges: int | None = None

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self)
        check_size(self.density, self.edges, graph)


def random(method: Random, search: Search) -> Result:
    """Places in a random order as scores, so that no two are equal."""
    places = np.random.default_rng(search.seed).permutation(search.model.graph.n_edges)
    values = torch.from_numpy(places.astype(np.float64))
    return ranked(search, values, method.density, method.edges)
