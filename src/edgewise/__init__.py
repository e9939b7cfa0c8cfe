"""Find the circuit that a transformer language model uses for a task.

    model  = edgewise.load("smollm2-135m")
    task   = edgewise.tasks.ioi(model.tokenizer)
    found  = edgewise.discover(model, task, edgewise.EdgePruning(density=0.02), out="runs/ioi")
    report = edgewise.evaluate(model, task, found.circuit)
    edgewise.view(found.circuit, "ioi.html", report=report)

A name is imported when it is first used: to look at a saved circuit takes no torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise import tasks
    from edgewise.adapt import adapt
    from edgewise.applied import applied
    from edgewise.circuit import Circuit
    from edgewise.discovery import (
        ACDC,
        EAP,
        EAPIG,
        EdgePruning,
        ExactPatching,
        Magnitude,
        Random,
        discover,
    )
    from edgewise.errors import EdgewiseError
    from edgewise.evaluation import evaluate
    from edgewise.export import export
    from edgewise.graph import Graph
    from edgewise.loading import load
    from edgewise.page import view
    from edgewise.report import Report
    from edgewise.scores import EdgeScores
    from edgewise.solved import solved
    from edgewise.stream import run
    from edgewise.tasks import Task

__all__ = [  # noqa: RUF022  in reading order
    "load",
    "adapt",
    "tasks",
    "Task",
    "solved",
    "discover",
    "EdgePruning",
    "EAP",
    "EAPIG",
    "ACDC",
    "ExactPatching",
    "Magnitude",
    "Random",
    "evaluate",
    "Report",
    "run",
    "applied",
    "Circuit",
    "EdgeScores",
    "Graph",
    "view",
    "export",
    "EdgewiseError",
]

_WHERE = {
    "load": "loading",
    "adapt": "adapt",
    "Task": "tasks",
    "solved": "solved",
    "discover": "discovery",
    "EdgePruning": "discovery",
    "EAP": "discovery",
    "EAPIG": "discovery",
    "ACDC": "discovery",
    "ExactPatching": "discovery",
    "Magnitude": "discovery",
    "Random": "discovery",
    "evaluate": "evaluation",
    "Report": "report",
    "run": "stream",
    "applied": "applied",
    "Circuit": "circuit",
    "EdgeScores": "scores",
    "Graph": "graph",
    "view": "page",
    "export": "export",
    "EdgewiseError": "errors",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f"edgewise.{_WHERE[name]}"), name)
    elif name in ("tasks", "errors"):
        value = import_module(f"edgewise.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("edgewise")
    else:
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


def _repr_html_(circuit: Any) -> str | None:
    return import_module("edgewise.page").frame(circuit)


class _Package(ModuleType):
    """Sees modules come in.

    `edgewise.view` stays the function: importing a module of that name would put it there. And a
    notebook gets to show circuits as pages: circuit.py can't import page, which stands above it.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            if name == "circuit":
                value.Circuit._repr_html_ = _repr_html_  # type: ignore[attr-defined]
            elif _WHERE.get(name) == name:
                value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
