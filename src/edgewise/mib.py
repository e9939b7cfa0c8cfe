"""Submissions to the circuit track of the MIB benchmark (2504.13151).

    FOLDER/ioi_gpt2/0.1-percent.json ... 50-percent.json    nine circuits, or
    FOLDER/ioi_gpt2/importances.json                        a score for every edge

A submission holds one of these for each task and model, for two tasks and two models at least; more
runs go into the same FOLDER. Each file is EAP-IG's JSON (`eap_ig`).

Where scores rank by value, as gates do, the nine circuits are their best edges. As in MIB's own
evaluation the best int(p E) edges are taken and dead ones dropped, so that no more than the share p
of the edges is kept. MIB's graph has no kv heads, so E counts key and value edges once for each
query head. Scores that rank by magnitude are effects of either sign: MIB itself cuts those both by
value (for CPR) and by magnitude (for CMD), so they go in as they are.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from edgewise import eap_ig
from edgewise.circuit import Circuit
from edgewise.curve import DENSITIES, edges_at
from edgewise.errors import ConfigError, GraphError
from edgewise.files import atomic_write
from edgewise.graph import Graph
from edgewise.scores import EdgeScores

NINE = DENSITIES[:-1]  # of 1 it knows the circuit

# Layers, heads and kv heads tell the benchmark's models apart; then their D and type.
MODELS = {
    (12, 12, 12): ("gpt2", 768, "gpt2"),
    (24, 14, 2): ("qwen2.5", 896, "qwen2"),
    (26, 8, 4): ("gemma2", 2304, "gemma2"),
    (32, 32, 8): ("llama3", 4096, "llama"),
}
TASKS = {
    "ioi": ("gpt2", "qwen2.5", "gemma2", "llama3"),
    "mcqa": ("qwen2.5", "gemma2", "llama3"),
    "arithmetic-addition": ("llama3",),
    "arithmetic-subtraction": ("llama3",),
    "arc-easy": ("gemma2", "llama3"),
    "arc-challenge": ("llama3",),
}


def submission(scores: EdgeScores, folder: str | os.PathLike[str], task: str) -> Path:
    """Writes one task and model of a submission into `folder`; gives the folder of these two.

    Raises ConfigError for a task or model that the benchmark doesn't have, GraphError for a graph
    whose embeddings aren't joint.
    """
    name, width, wanted = _model(scores.graph)
    found = scores.provenance.get("model")
    kind = found.get("model_type") if isinstance(found, Mapping) else None
    if kind not in (None, wanted):
        raise ConfigError(
            f"MIB's {name} is of type {wanted}, and these scores are of a {kind} model"
        )
    task = task.replace("_", "-")
    if name not in TASKS.get(task, ()):
        pairs = ", ".join(f"{known} ({', '.join(TASKS[known])})" for known in TASKS)
        raise ConfigError(f"MIB has no task {task!r} for {name}; it has {pairs}")
    place = Path(folder) / f"{task}_{name}"
    for old in place.glob("*.json"):  # MIB counts the files of a folder
        old.unlink()
    if scores.order == "magnitude":
        none = np.zeros(scores.graph.n_edges, bool)
        text = eap_ig.to_json(scores.graph, none, scores.values, width)
        atomic_write(place / "importances.json", text)
        return place
    copies = eap_ig.ungrouped(scores.graph)
    for density in NINE:
        text = eap_ig.to_json(copies, best(scores, density), width=width)
        atomic_write(place / f"{100 * density:g}-percent.json", text)
    return place


def best(scores: EdgeScores, density: float) -> Bool[np.ndarray, " ungrouped_E"]:
    """The best edges, as edges of MIB's graph, that make no more than a share of it; none dead."""
    copies, numbers = eap_ig.ungrouped(scores.graph), eap_ig.original(scores.graph)
    first = np.argsort(-scores.ranked(), kind="stable")  # as `top` ranks
    fit = np.cumsum(np.bincount(numbers)[first]) <= edges_at(density, copies.n_edges)
    return Circuit(copies, scores.top(int(fit.sum())).kept[numbers]).alive


def _model(graph: Graph) -> tuple[str, int, str]:
    """MIB's name of a model, its width and its type."""
    if graph.embeddings != "joint":
        raise GraphError(
            f"MIB counts the input's edges, and this graph has embeddings={graph.embeddings!r}: "
            "find the circuit with embeddings='joint'"
        )
    found = MODELS.get((graph.n_layers, graph.n_heads, graph.n_kv_heads))
    if found is None or graph.parallel:
        known = ", ".join(f"{name} {shape}" for shape, (name, *_) in MODELS.items())
        raise ConfigError(
            f"MIB has no model of {graph.n_layers} layers, {graph.n_heads} heads and "
            f"{graph.n_kv_heads} kv heads; it has {known}"
        )
    return found
