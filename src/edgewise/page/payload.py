"""What the page needs to know, as JSON: the circuit, its ranking, report, history and attention.

Only edges that the page can show are there: the best of the ranking, as far as the slider goes, and
the circuits' own. They are numbers of edges in rank order, so a circuit that is the top k of its
scores costs one number.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.attention import FILE, Attention, load
from edgewise.circuit import Circuit, check_circuit
from edgewise.errors import ConfigError, GraphError, RunError
from edgewise.report import Report
from edgewise.scores import EdgeScores, Order

MAX_RANKED = 20_000  # edges that the slider reaches
MAX_EDGES = 60_000  # edges that a page holds
_MAX_RECORDS = 400
_HISTORY = ("step", "kl", "loss", "density", "target")


def payload(
    circuit: Circuit,
    report: Report | None,
    scores: EdgeScores | None,
    run: str | os.PathLike[str] | None,
    other: Circuit | None,
    attention: Sequence[Attention],
    by: Order | None,
) -> dict[str, Any]:
    """Everything the page shows; arguments and errors as for `view`."""
    check_circuit(circuit)
    if other is not None:
        check_circuit(other, "other")
    folder = None if run is None else Path(run)
    if folder is not None:
        if not folder.is_dir():
            raise RunError(f"{folder} is no folder: give the folder of a run")
        if scores is None and (folder / "scores.safetensors").is_file():
            scores = EdgeScores.load(folder)
        if report is None and (folder / "report.json").is_file():
            report = Report.load(folder)
        if not attention and (folder / FILE).is_file():
            attention = load(folder)
    if report is not None and report.n_edges != circuit.graph.n_edges:
        raise GraphError(
            f"the report is of a graph of {report.n_edges:,} edges, the circuit of one of "
            f"{circuit.graph.n_edges:,}"
        )
    if scores is not None and scores.graph != circuit.graph:
        raise GraphError(f"the scores are of {scores.graph}, the circuit of {circuit.graph}")

    provenance = dict(circuit.provenance)
    order: Order = by or provenance.get("by") or (scores.order if scores else "value")
    ranked, edges = _edges(circuit, scores, other, order)
    found = {} if report is None else report.to_json()
    facts = _facts(circuit, found)
    data: dict[str, Any] = {
        "format": "edgewise-page/1",
        "title": _title(circuit, facts),
        "facts": facts,
        "graph": circuit.graph.to_json(),
        "edges": edges.tolist(),
        "ranked": ranked,
        "kept": _places(edges, circuit.kept),
        "by": order,
        "scores": None if scores is None else [_short(x) for x in scores.values[edges].tolist()],
        "label": _label(circuit),
        "report": _clean(found) if found else None,
        "areas": None if report is None else _clean(report.areas().get(order)),
        "history": None if folder is None else _history(folder / "metrics.jsonl"),
        "attention": [_patterns(circuit, one) for one in attention],
        "provenance": _clean(provenance),
    }
    if other is not None:
        overlap = circuit.overlap(other)
        data["other"] = {
            "kept": _places(edges, other.kept),
            "label": _label(other),
            "facts": _facts(other, {}),
            "overlap": {**asdict(overlap), "iou": overlap.iou},
        }
    return data


# --- edges ---------------------------------------------------------------------------------------


def _edges(
    circuit: Circuit, scores: EdgeScores | None, other: Circuit | None, by: Order
) -> tuple[int, np.ndarray]:
    """(n, edges): the n best edges of the ranking in order, then whatever else is kept.

    `EdgeScores.top(k)` is the first k of them, ties included: a stable sort leaves equals in the
    order of their index.
    """
    wanted = circuit.kept if other is None else (circuit | other).kept
    total, n_kept = circuit.graph.n_edges, int(wanted.sum())
    if n_kept > MAX_EDGES:
        raise ConfigError(
            f"{n_kept:,} edges are too many for a page, which holds {MAX_EDGES:,}: view fewer, "
            f"for example scores.top({MAX_RANKED})"
        )
    if scores is None:
        return 0, np.flatnonzero(wanted)
    n_ranked = min(total, MAX_RANKED, max(total // 10, 2 * n_kept, 2_000))
    values = scores.ranked(by)
    best = scores.top(n_ranked, by).kept
    first, rest = (
        edges[np.argsort(-values[edges], kind="stable")]
        for edges in (np.flatnonzero(best), np.flatnonzero(wanted & ~best))
    )
    return n_ranked, np.concatenate([first, rest])


def _places(edges: np.ndarray, kept: np.ndarray) -> int | list[int]:
    """Where in `edges` the kept ones stand: their number if they are the first."""
    places = np.flatnonzero(kept[edges])
    n = places.size
    return n if n == 0 or int(places[-1]) == n - 1 else places.tolist()


# --- words ---------------------------------------------------------------------------------------


def _named(value: object) -> str:
    """ "ioi" of "ioi" and of {"name": "ioi", ...}; "" of what has no name."""
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else ""


def _facts(circuit: Circuit, report: Mapping[str, Any]) -> dict[str, str]:
    """Model, task, method, ... in words, from the report and the provenance."""
    known = {**circuit.provenance, **report}
    facts = {key: _named(known.get(key)) for key in ("task", "model", "method", "ablation")}
    facts["split"] = _named(report.get("split"))
    for key, word in (("n_prompts", "prompts"), ("seed", "seed")):
        if isinstance(known.get(key), int):
            facts[word] = f"{known[key]:,}"
    facts["embeddings"] = circuit.graph.embeddings
    return {key: value for key, value in facts.items() if value}


def _title(circuit: Circuit, facts: Mapping[str, str]) -> str:
    known = [facts[key] for key in ("task", "model") if key in facts]
    return " in ".join(known) if known else f"A circuit of {circuit.n_edges:,} edges"


def _label(circuit: Circuit) -> str:
    """A few words that tell a circuit from another."""
    return _named(circuit.provenance.get("method")) or "circuit"


# --- files of a run ------------------------------------------------------------------------------


def _history(file: Path) -> dict[str, list[float | int | None]] | None:
    """The columns of metrics.jsonl, thinned evenly; None without records.

    A line that a running process has only half written ends the reading.
    """
    if not file.is_file():
        return None
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    if not records:
        return None
    places = np.linspace(0, len(records) - 1, min(_MAX_RECORDS, len(records))).round().astype(int)
    return {
        name: [_short(records[i].get(name)) for i in places.tolist()]
        for name in _HISTORY
        if any(isinstance(record.get(name), int | float) for record in records)
    }


# --- numbers -------------------------------------------------------------------------------------


def _patterns(circuit: Circuit, attention: Attention) -> dict[str, Any]:
    """Attention patterns as JSON; GraphError for a head that the circuit's graph doesn't have."""
    if unknown := set(attention.heads) - set(circuit.graph.writers):
        raise GraphError(f"attention of {min(unknown)}, which {circuit.graph} doesn't have")
    return attention.to_json()


def _clean(value: Any) -> Any:
    """A JSON value whose numbers are short and finite."""
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_clean(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    return _short(value)


def _short(value: Any) -> float | int | None:
    """A number in five significant digits; infinities as the largest float32, NaN as None."""
    if not isinstance(value, int | float) or isinstance(value, int):
        return value if isinstance(value, int) else None
    if math.isnan(value):
        return None
    if math.isinf(value):
        value = math.copysign(3.4e38, value)
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
