"""How well a circuit stands in for its model: one pass over a split that all circuits share.

For each batch the embeddings, the full model's logits and the ablated run are computed once. Every
circuit is then one masked forward pass over them (`stream`): the circuit itself, all edges, none,
random ones, the baselines that are given, and the top edges of a ranking at each density. What is
kept between batches is one number for each circuit, metric and prompt. Several processes share the
prompts, and each has the report of all.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise import runtime
from edgewise.ablation import Ablation, Means, check_kind
from edgewise.circuit import Circuit, check_circuit
from edgewise.curve import DENSITIES, sizes_at
from edgewise.errors import ConfigError, GraphError, NonFiniteError
from edgewise.estimate import Estimate
from edgewise.metrics import METRICS, measure
from edgewise.models.model import Model, check_model
from edgewise.prepared import prepare, reference_means
from edgewise.report import Predictions, Report, Row, Sample
from edgewise.scores import EdgeScores, Order
from edgewise.stream import as_mask
from edgewise.tasks.shares import Share
from edgewise.tasks.task import Task, check_task

__all__ = ["Estimate", "Report", "Row", "Sample", "evaluate", "measured"]

OWN_ROWS = ("circuit", "full", "empty", "random")
RANDOM_DRAWS = 3
BEST = 5  # predictions in a sample

Values = dict[str, np.ndarray]  # one number a prompt for each metric


@torch.no_grad()
def evaluate(
    model: Model,
    task: Task,
    circuit: Circuit,
    split: str = "test",
    *,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
    batch_size: int = 32,
    baselines: Mapping[str, Circuit] | None = None,
    scores: EdgeScores | None = None,
    densities: Sequence[float | int] | None = None,
    by: Order | None = None,
    samples: int = 5,
    seed: int = 0,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> Report:
    """Compare a circuit with its full model on every prompt of a split.

    The rows "full" (the all-ones mask through the same engine), "empty" and "random" come along.
    Random is three seeded draws of as many edges, pooled; its intervals are over prompts alone.

    reference   means for ablation="mean"; else those of the training split's corrupted prompts
    baselines   more rows: {"eap": eap_scores.top(len(circuit), by="magnitude")}
    scores      a ranking whose top edges make a curve
    by          "value" or "magnitude"; the scores' own order unless given
    densities   the curve's points; MIB's ten (`edgewise.curve.DENSITIES`) unless given. As there,
                edges are rounded down, and a point of none is left out
    samples     how many prompts, from the first on, to show with both models' predictions
    seed        of the random circuits and the bootstrap
    progress    called after each batch with {"step", "steps"}, by the main process

    Raises GraphError for circuits of another graph than the model's, DataError for an empty split,
    ConfigError for other arguments, NonFiniteError where a circuit's metrics are not finite.
    """
    if samples < 0:
        raise ConfigError(f"samples={samples}: it must be 0 or more")
    check_model(model)
    check_task(task)
    _check_seed(seed)
    rows = _rows(model, circuit, baselines or {}, seed)
    ranked = _ranked(model, scores, densities, by)
    reference = _reference(model, task, ablation, reference, batch_size)
    circuits = list(dict.fromkeys([*(c for row in rows.values() for c in row), *ranked]))
    values = _measured(model, task, circuits, split, ablation, reference, batch_size, progress)
    order = by or ("value" if scores is None else scores.order)
    curve = tuple(_row((one,), [values[one]], seed) for one in ranked)
    return Report(
        model=model.name,
        task=task.name,
        split=split,
        ablation=ablation,
        n_prompts=len(task.examples(split)),
        n_edges=model.graph.n_edges,
        rows={
            name: _row(draws, [values[one] for one in draws], seed) for name, draws in rows.items()
        },
        samples=_samples(model, task, circuit, split, ablation, reference, samples),
        curves={order: curve} if curve else {},
        order=order,
    )


@torch.no_grad()
def measured(
    model: Model,
    task: Task,
    circuits: Sequence[Circuit],
    split: str = "test",
    *,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[Row, ...]:
    """A row of numbers for each circuit, from one pass over a split; arguments as in `evaluate`."""
    check_model(model)
    check_task(task)
    _check_seed(seed)
    for number, one in enumerate(circuits):
        _check(model, one, f"circuit {number}")
    reference = _reference(model, task, ablation, reference, batch_size)
    once = list(dict.fromkeys(circuits))
    values = _measured(model, task, once, split, ablation, reference, batch_size, progress)
    return tuple(_row((one,), [values[one]], seed) for one in circuits)


def _measured(
    model: Model,
    task: Task,
    circuits: Sequence[Circuit],
    split: str,
    ablation: Ablation,
    reference: Means | None,
    batch_size: int,
    progress: Callable[[Mapping[str, Any]], None] | None,
) -> dict[Circuit, Values]:
    """One pass over a split: every circuit's numbers."""
    collected = {(one, name): [np.zeros(0)] for one in circuits for name in METRICS}
    share = Share(task, split, range(len(task.examples(split))), batch_size)
    for step, batch in enumerate(share):
        ready = prepare(model, batch, ablation, reference)
        full = ready.full  # run in every process, also where no prompt counts
        for one in circuits:
            logits = ready.logits(as_mask(model, one), live=True)
            if batch.weights.any():
                for name, found in measure(full, logits, ready.batch).items():
                    collected[one, name].append(found.cpu().numpy())
        del ready, full  # or two ablated runs are in memory while the next batch's is made
        if progress is not None and runtime.is_main():
            progress({"step": step + 1, "steps": len(share)})
    return _values(collected, model)


def _reference(
    model: Model, task: Task, ablation: Ablation, reference: Means | None, batch_size: int
) -> Means | None:
    """The means that are needed: those given, else the training split's."""
    check_kind(ablation)
    if ablation == "mean" and reference is None:
        return reference_means(model, task, batch_size)
    if ablation != "mean" and reference is not None:
        # 4: past `no_grad`, to the caller of `evaluate` or `measured`
        warnings.warn(f"reference has no effect on {ablation} ablation", stacklevel=4)
    return reference


def _rows(
    model: Model, circuit: Circuit, baselines: Mapping[str, Circuit], seed: int
) -> dict[str, tuple[Circuit, ...]]:
    """The circuits of each row: one, or several draws."""
    graph = model.graph
    if taken := set(baselines) & set(OWN_ROWS):
        raise ConfigError(f"the report has rows {sorted(taken)} of its own: rename the baselines")
    for name, one in {"circuit": circuit, **baselines}.items():
        _check(model, one, name)
    seeds = np.random.SeedSequence(seed).generate_state(RANDOM_DRAWS).tolist()
    return {
        "circuit": (circuit,),
        "full": (Circuit.full(graph),),
        "empty": (Circuit.empty(graph),),
        "random": tuple(Circuit.random(graph, len(circuit), seed) for seed in seeds),
        **{name: (one,) for name, one in baselines.items()},
    }


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed={seed}: it must be 0 or more")


def _check(model: Model, circuit: Circuit, name: str) -> None:
    check_circuit(circuit, name)
    if circuit.graph != model.graph:
        raise GraphError(f"{name} is of {circuit.graph}, the model of {model.graph}")


def _ranked(
    model: Model,
    scores: EdgeScores | None,
    densities: Sequence[float | int] | None,
    by: Order | None,
) -> list[Circuit]:
    """The curve's circuits by rising density; those of as many edges are one point."""
    if scores is None:
        if densities or by:
            asked = "densities need" if densities else f"by={by!r} needs"
            raise ConfigError(f"{asked} scores to rank the edges: give scores=found.scores")
        return []
    if scores.graph != model.graph:
        raise GraphError(f"the scores are of {scores.graph}, the model of {model.graph}")
    sizes = sizes_at(DENSITIES if densities is None else densities, model.graph.n_edges)
    return [scores.top(size, by) for size in sizes]


def _values(
    collected: Mapping[tuple[Circuit, str], list[np.ndarray]], model: Model
) -> dict[Circuit, Values]:
    """The metrics that prompts have, of all processes' prompts in order, which must be finite."""
    joined = runtime.joined([np.concatenate(parts) for parts in collected.values()])
    values: dict[Circuit, Values] = {}
    for (one, name), found in zip(collected, joined, strict=True):
        if not np.isfinite(found).all():
            raise NonFiniteError(
                f"{name} of {one} is not finite: the model is in {model.dtype}, load it in float32"
            )
        if len(found):
            values.setdefault(one, {})[name] = found
    return values


def _row(draws: Sequence[Circuit], values: Sequence[Values], seed: int) -> Row:
    """Estimates over prompts, each with its values under all draws."""
    stacked = {name: np.stack([v[name] for v in values], axis=1) for name in values[0]}
    metrics = {name: Estimate.of(v, seed) for name, v in stacked.items()}
    metrics["kl_p95"] = Estimate.of(
        stacked["kl"], seed, lambda sample: np.quantile(sample, 0.95, axis=-1)
    )
    largest = float(stacked["kl"].max())
    metrics["kl_max"] = Estimate(largest, largest, largest)  # a resample can't exceed it
    alive = round(float(np.mean([one.alive.sum() for one in draws])))
    return Row(len(draws[0]), alive, draws[0].density, metrics)


def _samples(
    model: Model,
    task: Task,
    circuit: Circuit,
    split: str,
    ablation: Ablation,
    reference: Means | None,
    count: int,
) -> tuple[Sample, ...]:
    """The first prompts of a split, in every process."""
    examples = task.examples(split)[:count]
    if not examples:
        return ()
    ready = prepare(model, task.batch(split, range(len(examples))), ablation, reference)
    logits = ready.logits(as_mask(model, circuit), live=True)
    shown = []
    for example, at in zip(examples, ready.batch.first.tolist(), strict=True):
        prompt = slice(0, example.positions[0] + 1)
        sample = Sample(
            prompt=model.text(example.clean[prompt]),
            corrupted=model.text(example.corrupted[prompt]),
            answer=model.text(example.answers),
            full=_best(model, ready.full[at], ready.batch.token_set),
            circuit=_best(model, logits[at], ready.batch.token_set),
        )
        shown.append(sample)
    return tuple(shown)


def _best(
    model: Model, logits: Float[Tensor, " V"], token_set: Int[Tensor, " K"] | None
) -> Predictions:
    """The likeliest tokens, of the token set if there is one, and their probabilities."""
    chosen = logits if token_set is None else logits[token_set]
    top = chosen.float().softmax(-1).topk(min(BEST, len(chosen)))
    tokens = top.indices if token_set is None else token_set[top.indices]
    pairs = zip(tokens.tolist(), top.values.tolist(), strict=True)
    return tuple((model.text((token,)), p) for token, p in pairs)
