"""Scores: a number for every edge of a graph, whose best edges make a circuit. No model, no torch.

They are saved as `scores.safetensors`, with the graph and the provenance in its metadata.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors.numpy
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open

from edgewise.circuit import Circuit, check_count
from edgewise.errors import ConfigError, GraphError, NonFiniteError, RunError
from edgewise.files import SEARCH_AGAIN, atomic_write, file_in
from edgewise.graph import Graph

Order = Literal["value", "magnitude"]

_FORMAT = "edgewise-scores/1"


@dataclass(frozen=True, eq=False, repr=False)
class EdgeScores:
    """A number for every edge; the higher, the more the edge matters.

    values        (E,) float32, copied and read-only
    provenance    JSON values that say where the scores come from
    order         how they rank unless told otherwise: by "value", or by "magnitude" where they are
                  effects of either sign

    Raises GraphError for a wrong length, NonFiniteError for NaN, which has no rank, and ConfigError
    for an order that there is not.
    """

    graph: Graph
    values: Float32[np.ndarray, " E"]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    order: Order = "value"

    def __post_init__(self) -> None:
        _check(self.order)
        values = self.graph.edge_array(self.values, np.float32)
        if (unranked := np.isnan(values)).any():
            raise NonFiniteError(
                f"{int(unranked.sum()):,} of {values.size:,} scores are NaN, the first at "
                f"{self.graph.name(int(unranked.argmax()))}: scores must be numbers"
            )
        object.__setattr__(self, "values", values)

    def __repr__(self) -> str:
        return f"<EdgeScores of {self.graph.n_edges:,} edges>"

    def ranked(self, by: Order | None = None) -> Float32[np.ndarray, " E"]:
        """What the edges are ranked by, the highest first: the values, or their magnitudes."""
        _check(by or self.order)
        return np.abs(self.values) if (by or self.order) == "magnitude" else self.values

    def top(self, k: int, by: Order | None = None) -> Circuit:
        """The `k` highest edges in the scores' own order, or in that of `by`.

        Among equals the lowest index comes first. Raises ConfigError unless k is a whole number
        and 0 <= k <= E.
        """
        ranked = self.ranked(by)
        check_count(k, self.graph)
        kept = np.zeros(ranked.size, bool)
        if k:
            last = np.partition(ranked, ranked.size - k)[ranked.size - k]
            kept = ranked > last
            ties = np.flatnonzero(ranked == last)
            kept[ties[: k - int(kept.sum())]] = True
        return Circuit(self.graph, kept, {**self.provenance, "top": k, "by": by or self.order})

    def at_density(self, density: float | int, by: Order | None = None) -> Circuit:
        """The top round(density E) edges, at least one; ConfigError unless 0 < density <= 1."""
        if not 0 < density <= 1:
            raise ConfigError(
                f"density must be in (0, 1], not {density!r}: 0.02 keeps 2% of the edges"
            )
        return self.top(max(1, round(density * self.graph.n_edges)), by)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file `path` if it ends in .safetensors, else scores.safetensors in it."""
        metadata = {
            "format": _FORMAT,
            "graph": json.dumps(self.graph.to_json()),
            "provenance": json.dumps(dict(self.provenance), allow_nan=False),
            "order": self.order,
        }
        content = safetensors.numpy.save({"values": self.values}, metadata)
        return atomic_write(file_in(path, "scores.safetensors"), content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "EdgeScores":
        """Reads what `save` wrote, from the file or its folder; RunError if it holds no scores.

        GraphError or NonFiniteError if there is not a number for every edge.
        """
        file = file_in(path, "scores.safetensors")
        try:
            with safe_open(file, framework="numpy") as tensors:
                metadata = tensors.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    found = metadata.get("format")
                    raise RunError(
                        f"{file} holds no scores: its format is {found!r}, not {_FORMAT!r}"
                    )
                graph = Graph.from_json(json.loads(metadata["graph"]))
                provenance, order = json.loads(metadata["provenance"]), metadata.get("order")
                return cls(graph, tensors.get_tensor("values"), provenance, order or "value")
        except FileNotFoundError as error:
            raise RunError(f"{file} does not exist: give a run folder or a scores file") from error
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, ConfigError) as error:
            raise RunError(f"{file} holds no scores: {error}; {SEARCH_AGAIN}") from error
        except (GraphError, NonFiniteError) as error:
            raise type(error)(f"{file}: {error}; {SEARCH_AGAIN}") from error


def _check(order: str) -> None:
    if order not in get_args(Order):
        raise ConfigError(f"scores rank by 'value' or 'magnitude', not by {order!r}")
