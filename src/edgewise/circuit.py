"""A circuit: the edges of a graph that are kept, and where they come from. No model, no torch.

It is saved as `circuit.json`, one edge a line, which a person can read and diff.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from edgewise import wiring
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.files import SEARCH_AGAIN, atomic_write, file_in
from edgewise.graph import Graph

_FORMAT = "edgewise-circuit/1"


@dataclass(frozen=True, eq=False, repr=False)
class Circuit:
    """A subset of a graph's edges: the others read their writer's ablated output.

    kept          (E,) True where the edge is in the circuit; copied and read-only
    provenance    JSON values that say where the circuit comes from; not compared by ==

    `&`, `|` and `-` are the set operations; GraphError when the graphs differ.
    """

    graph: Graph
    kept: Bool[np.ndarray, " E"]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.asarray(self.kept).dtype != bool:
            raise GraphError(f"kept must hold bools, not {np.asarray(self.kept).dtype}")
        object.__setattr__(self, "kept", self.graph.edge_array(self.kept, bool))

    @classmethod
    def full(cls, graph: Graph) -> "Circuit":
        """Every edge: the model itself."""
        return cls(graph, np.ones(graph.n_edges, bool))

    @classmethod
    def empty(cls, graph: Graph) -> "Circuit":
        """No edge: the ablated run."""
        return cls(graph, np.zeros(graph.n_edges, bool))

    @classmethod
    def of(cls, graph: Graph, names: Iterable[str]) -> "Circuit":
        """The edges called `names`; GraphError at the first that the graph doesn't have."""
        if isinstance(names, str):
            raise GraphError(f"names is {names!r}, one text: give a list of names, [{names!r}]")
        kept = np.zeros(graph.n_edges, bool)
        kept[[graph.index(name) for name in names]] = True
        return cls(graph, kept)

    @classmethod
    def random(cls, graph: Graph, k: int, seed: int) -> "Circuit":
        """`k` edges, every set of k equally likely: what a circuit must beat.

        Raises ConfigError unless k is a whole number and 0 <= k <= E.
        """
        check_count(k, graph)
        kept = np.zeros(graph.n_edges, bool)
        kept[np.random.default_rng(seed).choice(graph.n_edges, k, replace=False)] = True
        return cls(graph, kept, {"method": "random", "seed": seed})

    # --- sets ------------------------------------------------------------------------------------

    def __and__(self, other: "Circuit") -> "Circuit":
        return Circuit(self.graph, self.kept & self._comparable(other).kept)

    def __or__(self, other: "Circuit") -> "Circuit":
        return Circuit(self.graph, self.kept | self._comparable(other).kept)

    def __sub__(self, other: "Circuit") -> "Circuit":
        return Circuit(self.graph, self.kept & ~self._comparable(other).kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return self.graph == other.graph and np.array_equal(self.kept, other.kept)

    def __hash__(self) -> int:
        return hash((self.graph, self.kept.tobytes()))

    def __len__(self) -> int:
        return self.n_edges

    def __repr__(self) -> str:
        return f"<Circuit of {self.n_edges:,} of {self.graph.n_edges:,} edges>"

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """The kept edges' names, sorted."""
        return tuple(sorted(self.graph.names(np.flatnonzero(self.kept))))

    @cached_property
    def n_edges(self) -> int:
        """Kept edges, dead ones included."""
        return int(self.kept.sum())

    @property
    def density(self) -> float:
        """Kept edges / all edges."""
        return self.n_edges / self.graph.n_edges

    @property
    def sparsity(self) -> float:
        """1 - density."""
        return 1 - self.density

    # --- wiring ----------------------------------------------------------------------------------

    @cached_property
    def alive(self) -> Bool[np.ndarray, " E"]:
        """The kept edges on a path from an input to the logits.

        A head is reached if any of its q, k or v readers keeps an edge from a reached writer; the k
        and v readers of a kv head feed every query head of its group. Where a norm spans all heads
        of a block (`Graph.coupled`), every reader of the block feeds all of them.

        Under interchange ablation removing the dead edges leaves the logits exactly as they were. A
        writer that no input reaches reads x~_r alone, so it writes x_w = x~_w and its edges carry
        x_w - x~_w = 0; an edge that doesn't lead to the logits changes only what they never read.
        Under mean or zero ablation only the second half holds: an unreached writer computes f(x~_r)
        and that is not its own ablated output (f of a mean is no mean of f, and f(0) is not 0 where
        there are biases), so its edges carry a constant that the logits may read.
        """
        return self.graph.edge_array(wiring.alive(self.graph, self.kept), bool)

    def pruned(self) -> "Circuit":
        """The circuit without its dead edges; see `alive` for when the logits stay the same."""
        return Circuit(self.graph, self.alive, self.provenance)

    def paths(
        self, source: str = "input", target: str = "logits", limit: int = 100
    ) -> list[tuple[str, ...]]:
        """Up to `limit` paths along kept edges as component names, shortest first.

        A path is ("input", "a0.h1", "m3", "logits"), and `source` and `target` are such names.
        Components joined by several edges (q and v, say) give one path. Every component reads a
        free input. Raises GraphError for unknown names.
        """
        components = (*self.graph.writers, "logits")
        for name in (source, target):
            if name not in components:
                raise GraphError(
                    f"there is no component {name!r}: they are {', '.join(components[:3])}, ..., "
                    f"{components[-2]}, logits"
                )
        found = wiring.paths(
            self.graph, self.kept, components.index(source), components.index(target)
        )
        return [tuple(components[c] for c in path) for path in islice(found, limit)]

    def summary(self) -> wiring.Counts:
        """Kept edges at every component, by layer and by kind of reader."""
        return wiring.counts(self.graph, self.kept)

    def overlap(self, other: "Circuit") -> "Overlap":
        """How much two circuits share, against chance; GraphError when their graphs differ."""
        from scipy.stats import hypergeom  # slow to import, and looking at a circuit should be fast

        total, mine, theirs = self.graph.n_edges, len(self), len(self._comparable(other))
        shared = int((self.kept & other.kept).sum())
        return Overlap(
            intersection=shared,
            union=mine + theirs - shared,
            expected=mine * theirs / total,
            p_value=float(hypergeom.sf(shared - 1, total, mine, theirs)),
        )

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file `path` if it ends in .json, else circuit.json in the folder `path`."""
        data = {
            "format": _FORMAT,
            "graph": self.graph.to_json(),
            "provenance": dict(self.provenance),
            "edges": list(self.edges),
        }
        text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
        return atomic_write(file_in(path, "circuit.json"), text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Circuit":
        """Reads what `save` wrote, from the file or its folder.

        Raises RunError for a file that is missing or no circuit, GraphError at the first edge that
        its graph doesn't have.
        """
        file = file_in(path, "circuit.json")
        try:
            return cls._of_json(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RunError(f"{file} does not exist: give a run folder or a circuit.json") from error
        except (GraphError, RunError) as error:
            raise type(error)(f"{file}: {error}") from error
        except ValueError as error:
            raise RunError(f"{file} is no JSON file: {error}; {SEARCH_AGAIN}") from error

    @classmethod
    def _of_json(cls, data: Any) -> "Circuit":
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise RunError(f"no circuit: its format is {found!r}, not {_FORMAT!r}")
        names, provenance = data.get("edges"), data.get("provenance", {})
        if not isinstance(names, list) or not isinstance(provenance, dict):
            raise RunError(
                f"no circuit: edges must be a list and provenance an object; {SEARCH_AGAIN}"
            )
        for place, name in enumerate(names):
            if not isinstance(name, str):
                raise RunError(f"edge {place} is {name!r}, not a name; {SEARCH_AGAIN}")
        try:
            circuit = cls.of(Graph.from_json(data.get("graph")), names)
        except GraphError as error:
            raise GraphError(f"{error}; {SEARCH_AGAIN}") from error
        if len(circuit) != len(names):
            twice, _ = Counter(names).most_common(1)[0]
            raise RunError(f"edge {twice!r} is there more than once; {SEARCH_AGAIN}")
        return cls(circuit.graph, circuit.kept, provenance)

    def _comparable(self, other: "Circuit") -> "Circuit":
        if self.graph != other.graph:
            raise GraphError(
                f"circuits of different graphs can't be combined: {self.graph} and {other.graph}"
            )
        return other


def check_circuit(circuit: Any, name: str = "circuit") -> None:
    """ConfigError for anything but a Circuit, such as a run's folder; `name` is the argument's."""
    if isinstance(circuit, Circuit):
        return
    given, how = f"a {type(circuit).__name__}", "found.circuit or scores.top(k)"
    if isinstance(circuit, str | os.PathLike):
        given = repr(os.fspath(circuit))
        how = f"edgewise.Circuit.load({given})"
    raise ConfigError(f"{name} is {given}, not a Circuit: type {how}")


def check_count(k: Any, graph: Graph) -> None:
    """ConfigError unless `k` is a whole number of edges that the graph has."""
    if not isinstance(k, Integral):
        raise ConfigError(
            f"{k!r} edges can't be kept: give a whole number, or type scores.at_density(0.02) for "
            "a share of all edges"
        )
    if not 0 <= k <= graph.n_edges:
        raise ConfigError(f"{k} edges can't be kept: the graph has {graph.n_edges}")


@dataclass(frozen=True)
class Overlap:
    """What two circuits share; `expected` and `p_value` are for random circuits of the same sizes.

    intersection, union    edges in both, in either
    expected               edges that two random circuits share on average: |A| |B| / E
    p_value                P(two random circuits share as many or more), hypergeometric
    """

    intersection: int
    union: int
    expected: float
    p_value: float

    @property
    def iou(self) -> float:
        """intersection / union; 1 for two empty circuits."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def times_chance(self) -> float:
        """intersection / expected; NaN where nothing is expected."""
        return self.intersection / self.expected if self.expected else math.nan
