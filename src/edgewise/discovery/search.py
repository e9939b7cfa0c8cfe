"""`discover`: one verb for every method; checks before work, a folder that can be gone on with."""

import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from edgewise import runs, runtime
from edgewise.ablation import Ablation, check_kind
from edgewise.circuit import Circuit
from edgewise.discovery.acdc import ACDC, acdc
from edgewise.discovery.attribution import EAP, EAPIG, check_metric, eap, eap_ig
from edgewise.discovery.edge_pruning import EdgePruning
from edgewise.discovery.exact import ExactPatching, exact
from edgewise.discovery.found import Found, Method, Progress, Result, Search, settings
from edgewise.discovery.magnitude import Magnitude, magnitude
from edgewise.discovery.memory import prompts_within
from edgewise.discovery.random import Random, random
from edgewise.discovery.training import train
from edgewise.errors import ConfigError
from edgewise.graph import Graph
from edgewise.models.fingerprint import weights_fingerprint
from edgewise.models.model import Model, cast, check_model, multiplies_bfloat16
from edgewise.peak import Peak
from edgewise.prepared import reference_means
from edgewise.runs import RunFolder, read_config
from edgewise.scores import EdgeScores
from edgewise.tasks.task import Task, check_task

_SEARCHES: dict[type, Callable[[Any, Search], Result]] = {
    EdgePruning: train,
    EAP: eap,
    EAPIG: eap_ig,
    ACDC: acdc,
    ExactPatching: exact,
    Magnitude: magnitude,
    Random: random,
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
    memory_gb: float | int | None = None,
    progress: Progress | None = None,
) -> Found:
    """The circuit of `model` for `task` that `method` finds, learning from the training split.

    out         a run folder; the same call again goes on from its last checkpoint, or returns what
                it holds if it has finished. Without one nothing is saved
    seed        of everything random
    ablation    what absent edges carry: "interchange", "mean" or "zero"
    overwrite   delete another run that `out` holds
    memory_gb   what a step's tensors may take in a process, beside weights and kept runs, in GB: a
                batch that needs more goes through in pieces, with the same result to rounding
    progress    called with each record as it comes, with the time left, by the main process

    Several processes (`edgewise.runtime`) that call this alike share every batch, and return the
    same circuit; `out` must be a folder that all of them see.

    Raises ConfigError, DataError, RunError or DiskError before any work, NonFiniteError or
    LostProcessError during it; what a folder has by then stays good.
    """
    check_model(model)
    check_task(task)
    if type(method) not in _SEARCHES:
        known = ", ".join(kind.__name__ for kind in _SEARCHES)
        raise ConfigError(f"no method {method!r}: discover takes one of {known}")
    check(method, model.graph, task)
    check_kind(ablation)
    if seed < 0:
        raise ConfigError(f"seed={seed}: it must be 0 or more")
    at_most = None if memory_gb is None else prompts_within(model, task, memory_gb)
    config = describe(model, task, method, ablation, seed)
    here = config["search_dtype"]
    if _chooses(model, method):
        begun = None if out is None or overwrite else _begun_in(out)
        config["search_dtype"] = runtime.text_from_main(begun or here)
    _refuse_discord(config)
    folder = None if out is None else RunFolder.open(out, config, overwrite)
    try:
        if folder is not None and folder.finished:
            return _finished(folder)
        if config["search_dtype"] != here:
            warnings.warn(
                f"{out} was begun in {config['search_dtype']}, where this machine would search in "
                f"{here}: it goes on as begun",
                stacklevel=2,
            )
        heard = progress if runtime.is_main() else None
        return _search(model, task, method, ablation, seed, folder, heard, at_most, config)
    finally:
        if folder is not None:
            folder.close()


def check(method: Method, graph: Graph, task: Task) -> None:
    """ConfigError or DataError if a method can't search a graph for what a task has."""
    method.check(graph)
    task.examples("train")
    if isinstance(method, EAP | EAPIG | ExactPatching):
        check_metric(method.metric, task, method.prompts)


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
            "dtype": model.dtype_name,
            "embeddings": model.graph.embeddings,
        },
        "task": {**task.description, "name": task.name, "fingerprint": task.fingerprint()},
        "method": {"name": method.name, **settings(method)},
        "ablation": ablation,
        "seed": seed,
        "search_dtype": search_dtype(model, method),
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
    at_most: int | None,
    config: dict[str, Any],
) -> Found:
    began, peak = time.monotonic(), Peak.begin(model.device)
    dtype = getattr(torch, config["search_dtype"])
    working = model if dtype == model.dtype else cast(model, dtype)
    reference = reference_means(working, task) if ablation == "mean" else None
    search = Search(working, task, ablation, reference, seed, folder, progress, at_most)
    result = _SEARCHES[type(method)](method, search)
    seconds = time.monotonic() - began
    if result.history:
        seconds = float(result.history[-1]["seconds"])
    provenance = {**config, "seconds": seconds, "peak_bytes": peak.n_bytes()}
    values = runtime.from_main(torch.tensor(result.scores.values)).numpy()
    scores = replace(result.scores, values=values, provenance=provenance)
    circuit = scores.top(runtime.number_from_main(result.kept))
    if folder is not None:
        folder.finish(scores, circuit)
    _warn_of_dead(circuit, method)
    return Found(circuit, scores, result.history, seconds)


def search_dtype(model: Model, method: Method) -> str:
    """What the model is searched in, here: see `EdgePruning.precision`."""
    if _chooses(model, method) and multiplies_bfloat16(model.device):
        return "bfloat16"
    return model.dtype_name


def _chooses(model: Model, method: Method) -> bool:
    """Whether the machine decides what the model is searched in."""
    auto = isinstance(method, EdgePruning) and method.precision == "auto"
    return auto and model.dtype == torch.float32 and model.whole


def _begun_in(out: str | PathLike[str]) -> str | None:
    """What the run in `out` is searched in, wherever it was begun; None for a new one.

    A search that goes on in another dtype would be of neither. Any machine computes in both.
    """
    if not (Path(out) / "config.json").is_file():
        return None
    return read_config(out).get("search_dtype")


def _refuse_discord(config: dict[str, Any]) -> None:
    """ConfigError in every process if one was given another run than the main one."""
    ours = json.loads(json.dumps(config))
    found = runs.differences(json.loads(runtime.text_from_main(json.dumps(config))), ours)
    others = [key for key in found if not key.startswith("versions")]
    if runtime.largest(len(others)):
        detail = [f"{key} {found[key][1]!r}, not {found[key][0]!r}" for key in others]
        raise ConfigError(
            f"process {runtime.rank()} was given another run than process 0 ({', '.join(detail)})"
            if others
            else "another process was given another run: start all with one command, on the same "
            "weights and data"
        )


def _warn_of_dead(circuit: Circuit, method: Method) -> None:
    """A circuit without a path is as good as none, and is still a result."""
    if circuit.alive.any():
        return
    more = "ask for more edges"
    if isinstance(method, ACDC):
        more = f"take a threshold below {method.threshold}"
    elif isinstance(method, EdgePruning):
        more += f" or more steps (now {method.steps})"
        if method.rounding == "threshold":
            more = f"take a target_sparsity below {method.sparsity_target(circuit.graph):g}"
    warnings.warn(
        f"{method.name}: none of the circuit's {len(circuit)} edges lies on a path from an input "
        f"to the logits: {more}",
        stacklevel=4,  # whoever called discover
    )


def _finished(folder: RunFolder) -> Found:
    circuit, scores = Circuit.load(folder.path), EdgeScores.load(folder.path)
    seconds = float(scores.provenance["seconds"])
    return Found(circuit, scores, tuple(folder.records()), seconds)
