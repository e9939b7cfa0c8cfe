"""The end of every method that gives each edge a score: the best are the circuit."""

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.discovery.found import Result, Search, n_kept
from edgewise.errors import NonFiniteError
from edgewise.scores import EdgeScores, Order


def finite(values: Float[Tensor, " E"]) -> Float[Tensor, " E"]:
    """The values; NonFiniteError where one is no number, which has no rank."""
    if not torch.isfinite(values).all():
        raise NonFiniteError(
            "some edges' scores are NaN or infinite; load the model with dtype='float32'"
        )
    return values


def ranked(
    search: Search,
    values: Float[Tensor, " E"],
    density: float | int | None,
    edges: int | None,
    order: Order = "value",
) -> Result:
    """The best edges by `order`, as many as asked; NonFiniteError where a value is no number."""
    graph = search.model.graph
    scores = EdgeScores(graph, finite(values).float().cpu().numpy(), order=order)
    return Result(scores, n_kept(graph, density, edges))
