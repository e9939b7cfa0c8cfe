"""What every method returns, what it is given, and how its fields are checked."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, get_args, get_origin, runtime_checkable

import numpy as np

from edgewise.ablation import Ablation, Means
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError
from edgewise.graph import Graph
from edgewise.models.model import Model
from edgewise.runs import RunFolder
from edgewise.scores import EdgeScores
from edgewise.tasks.task import Task

DENSITY = 0.02  # of a method that is given neither a density nor a number of edges

UNIONS = (UnionType, get_origin(Literal["a"] | None))  # of int | None; of that, another

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Found:
    """A discovered circuit.

    circuit    the edges kept
    scores     one number for every edge: `scores.top(k)` is the method's circuit of any other size
    history    the run's records: step, loss, density, ...
    seconds    what the search took, interruptions left out
    """

    circuit: Circuit
    scores: EdgeScores
    history: tuple[Mapping[str, Any], ...] = field(repr=False)
    seconds: float


@dataclass(frozen=True, eq=False)
class Search:
    """One run of a method: on what, from which seed, and where it reports and saves.

    at_most    prompts that a process may run at a time (None: as many as the method likes)
    """

    model: Model
    task: Task
    ablation: Ablation
    reference: Means | None
    seed: int
    folder: RunFolder | None
    progress: Progress | None
    at_most: int | None = None

    def report(self, record: Mapping[str, Any], **shown: Any) -> None:
        """Save a record, and show it with what is only of interest while waiting."""
        if self.folder is not None:
            self.folder.append(record)
        if self.progress is not None:
            self.progress({**record, **shown})


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of hyperparameters."""

    name: ClassVar[str]

    def check(self, graph: Graph | None = None) -> None:
        """Raise ConfigError for values that can't be meant; without a graph, in no graph."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a search gives: scores, how many of the best edges are the circuit, and its records."""

    scores: EdgeScores
    kept: int
    history: tuple[Mapping[str, Any], ...] = ()


def n_kept(graph: Graph, density: float | int | None, edges: int | None) -> int:
    """How many edges were asked for; ConfigError as of `check_size`."""
    check_size(density, edges, graph)
    return max(1, round(density * graph.n_edges)) if edges is None else edges


def check_size(density: float | int | None, edges: int | None, graph: Graph | None = None) -> None:
    """ConfigError unless one of the two asks for a size that a graph, or this one, can have.

    A number of edges takes the place of DENSITY, which nobody need have asked for.
    """
    if edges is not None and edges < 1:
        raise ConfigError(f"edges={edges}: it must be at least 1")
    if edges is not None and graph is not None and edges > graph.n_edges:
        raise ConfigError(f"edges={edges}: the graph has {graph.n_edges}, ask for 1 to all")
    if density is not None and not 0 < density <= 1:
        raise ConfigError(f"density={density}: it must be above 0 and at most 1, such as 0.02")
    asked = None if edges is not None and density == DENSITY else density
    if (asked is None) == (edges is None):
        raise ConfigError(
            "ask for a density or for a number of edges, not both: "
            f"density={density}, edges={edges}"
        )


def settings(method: Method) -> dict[str, Any]:
    """A method's fields as JSON values: Python's numbers for numpy's, and one size alone."""
    values = asdict(method)
    if values.get("edges") is not None:
        values["density"] = None
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}


def check_fields(method: Method, **at_least: float | int) -> None:
    """ConfigError for a field that is none of its choices, of another type, no finite number, or
    below its least."""
    for one in fields(method):
        name, value = one.name, getattr(method, one.name)
        if not fits(value, one.type):
            raise ConfigError(f"{name}={value!r}: it must be {_wanted(value, one.type)}")
        if isinstance(value, Real) and not math.isfinite(value):
            raise ConfigError(f"{name}={value}: it must be a finite number")
        if name in at_least and value is not None and value < at_least[name]:
            raise ConfigError(f"{name}={value}: it must be at least {at_least[name]}")


def _wanted(value: Any, kind: Any) -> str:
    """What a field takes in place of a value that doesn't fit."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    kinds = get_args(kind) or (kind,)
    names = " or ".join("None" if one is NoneType else one.__name__ for one in kinds)
    return f"{names}, not {type(value).__name__}"


def fits(value: Any, kind: Any) -> bool:
    """Whether a value can be that of a dataclass's field of type `kind`.

    Whole numbers are numbers and so are numpy's, truths aren't; a list stands for a Sequence.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inside
    if origin in UNIONS:
        return any(fits(value, one) for one in inside)
    if origin is Sequence:
        return isinstance(value, list) and all(fits(one, inside[0]) for one in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, {int: Integral, float: Real}.get(kind, kind))
