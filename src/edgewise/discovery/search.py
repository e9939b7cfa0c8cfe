"""`discover`: one verb for every method; checks before work, a folder that can be gone on with."""

import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from os import PathLike
from typing import Any

import torch

from edgewise.ablation import Ablation
from edgewise.circuit import Circuit
from edgewise.discovery.attribution import EAP, EAPIG, eap, eap_ig
from edgewise.discovery.edge_pruning import EdgePruning
from edgewise.discovery.found import Found, Method, Progress, Result, Search
from edgewise.discovery.training import train
from edgewise.errors import ConfigError
from edgewise.models.fingerprint import weights_fingerprint
from edgewise.models.model import Model, cast, multiplies_bfloat16
from edgewise.prepared import reference_means
from edgewise.runs import RunFolder
from edgewise.scores import EdgeScores
from edgewise.tasks.task import Task

_SEARCHES: dict[type, Callable[[Any, Search], Result]] = {
    EdgePruning: train,
    EAP: eap,
    EAPIG: eap_ig,
}


def discover(
    model: Model,
    task: Task,
    method: Method,
    *,
    out: str | PathLike[str] | None = None,
    seed: int = 0,
    ablation: Ablation = "interchange",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Found:
    """The circuit of `model` for `task` that `method` finds, learning from the training split.

    out         a run folder; the same call again goes on from its last checkpoint, or returns what
                it holds if it has finished. Without one nothing is saved
    seed        of everything random
    ablation    what absent edges carry: "interchange", "mean" or "zero"
    overwrite   delete another run that `out` holds
    progress    called with each record as it comes, with the time left

    Raises ConfigError, DataError, RunError or DiskError before any work, NonFiniteError during it;
    what a folder has by then stays good.
    """
    if type(method) not in _SEARCHES:
        known = ", ".join(kind.__name__ for kind in _SEARCHES)
        raise ConfigError(f"no method {method!r}: discover takes one of {known}")
    method.check(model.graph)
    task.examples("train")
    if ablation not in ("interchange", "mean", "zero"):
        raise ConfigError(f"ablation must be 'interchange', 'mean' or 'zero', not {ablation!r}")
    if seed < 0:
        raise ConfigError(f"seed={seed}: it must be 0 or more")
    config = describe(model, task, method, ablation, seed)
    folder = None if out is None else RunFolder.open(out, config, overwrite)
    try:
        if folder is not None and folder.finished:
            return _finished(folder)
        return _search(model, task, method, ablation, seed, folder, progress, config)
    finally:
        if folder is not None:
            folder.close()


def describe(
    model: Model, task: Task, method: Method, ablation: Ablation, seed: int
) -> dict[str, Any]:
    """Everything needed to repeat a run, and to tell whether another is the same."""
    return {
        "model": {
            "name": model.name,
            "model_type": model.config.model_type,
            "revision": getattr(model.config, "_commit_hash", None),
            "weights": weights_fingerprint(model.hf),
            "dtype": str(model.dtype).removeprefix("torch."),
            "embeddings": model.graph.embeddings,
        },
        "task": {**task.description, "name": task.name, "fingerprint": task.fingerprint()},
        "method": {"name": method.name, **asdict(method)},
        "ablation": ablation,
        "seed": seed,
        "versions": {
            **{name: version(name) for name in ("edgewise", "torch", "transformers")},
            "python": platform.python_version(),
        },
    }


def _search(
    model: Model,
    task: Task,
    method: Method,
    ablation: Ablation,
    seed: int,
    folder: RunFolder | None,
    progress: Progress | None,
    config: dict[str, Any],
) -> Found:
    began = time.monotonic()
    working = _working(model, method)
    reference = reference_means(working, task) if ablation == "mean" else None
    search = Search(working, task, ablation, reference, seed, folder, progress)
    result = _SEARCHES[type(method)](method, search)
    seconds = time.monotonic() - began
    if result.history:
        seconds = float(result.history[-1]["seconds"])
    dtype = str(working.dtype).removeprefix("torch.")
    provenance = {**config, "search_dtype": dtype, "seconds": seconds}
    scores = replace(result.scores, provenance=provenance)
    circuit = scores.top(result.kept)
    _refuse_dead(circuit, method)
    if folder is not None:
        folder.finish(scores, circuit)
    return Found(circuit, scores, result.history, seconds)


def _working(model: Model, method: Method) -> Model:
    """The model that is searched: see `EdgePruning.precision`."""
    fast = isinstance(method, EdgePruning) and method.precision == "auto"
    if fast and model.dtype == torch.float32 and multiplies_bfloat16(model.device):
        return cast(model, torch.bfloat16)
    return model


def _refuse_dead(circuit: Circuit, method: Method) -> None:
    """An Edge Pruning circuit without a path is an error, a baseline's is a fact to know."""
    if circuit.alive.any():
        return
    text = (
        f"none of the circuit's {len(circuit)} edges lies on a path from an input to the logits: "
        "ask for more edges"
    )
    if isinstance(method, EdgePruning):
        raise ConfigError(f"{text}, or for more steps (now {method.steps})")
    warnings.warn(text, stacklevel=4)  # whoever called discover


def _finished(folder: RunFolder) -> Found:
    circuit, scores = Circuit.load(folder.path), EdgeScores.load(folder.path)
    seconds = float(scores.provenance["seconds"])
    return Found(circuit, scores, tuple(folder.records()), seconds)
