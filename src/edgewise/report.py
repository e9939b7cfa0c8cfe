"""What an evaluation found, as data, as JSON and as a table. No model, no torch.

It is saved as `report.json`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewise.curve import cmd, cpr, faithfulness, log_area
from edgewise.errors import DataError, RunError
from edgewise.estimate import Estimate
from edgewise.files import atomic_write, file_in
from edgewise.table import aligned, percent

_FORMAT = "edgewise-report/1"

_COLUMNS = {
    "kl": "KL",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "logit_difference": "logit diff.",
    "probability_difference": "prob. diff.",
    "probability_difference_10": "within 10",
    "kendall_tau": "tau",
}


@dataclass(frozen=True)
class Row:
    """One circuit's size and metrics; `edges_alive` are on a path from an input to the logits."""

    edges: int
    edges_alive: int
    density: float | int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class Point:
    """The best edges of a ranking at one density, and their metrics' means."""

    density: float | int
    edges: int
    edges_alive: int
    metrics: Mapping[str, float | int]


Predictions = tuple[tuple[str, float | int], ...]


@dataclass(frozen=True)
class Sample:
    """A prompt and the likeliest next tokens, best first, at its first answer position."""

    prompt: str
    corrupted: str
    answer: str
    full: Predictions
    circuit: Predictions


@dataclass(frozen=True)
class Report:
    """How a circuit does on a split of a task, beside the circuits it must be compared with.

    n_edges    edges of the whole graph
    rows       "circuit", "full" (every edge), "empty" (none), "random" (as many edges), others
    curve      the top edges of the scores, by rising density; empty without scores
    curve_by   what ranked them: "value", "magnitude" or None
    """

    model: str
    task: str
    split: str
    ablation: str
    n_prompts: int
    n_edges: int
    rows: Mapping[str, Row]
    curve: tuple[Point, ...] = ()
    samples: tuple[Sample, ...] = ()
    curve_by: str | None = None

    @property
    def edges(self) -> int:
        """Edges of the circuit, dead ones included."""
        return self.rows["circuit"].edges

    @property
    def edges_alive(self) -> int:
        """Edges of the circuit that are not dead."""
        return self.rows["circuit"].edges_alive

    @property
    def density(self) -> float | int:
        """Edges of the circuit / all edges."""
        return self.rows["circuit"].density

    @property
    def kl(self) -> float | int:
        """Mean KL(full || circuit), in nats."""
        return self.metric("kl")

    @property
    def exact_match(self) -> float | int:
        """Share of prompts on which the circuit predicts what the full model does."""
        return self.metric("exact_match")

    @property
    def accuracy(self) -> float | int:
        """Share of prompts that the circuit answers right."""
        return self.metric("accuracy")

    @property
    def logit_difference(self) -> float | int:
        """Mean logit difference of the circuit; DataError for a task without distractors."""
        return self.metric("logit_difference")

    def metric(self, name: str, row: str = "circuit") -> float | int:
        """A row's mean of a metric; DataError, naming those there are, if it lacks it."""
        if row not in self.rows:
            raise DataError(f"the report has no row {row!r}; there are: {', '.join(self.rows)}")
        found = self.rows[row].metrics
        if name not in found:
            raise DataError(f"the report has no metric {name!r}; there are: {', '.join(found)}")
        return found[name].mean

    def faithfulness(self, metric: str = "logit_difference", row: str = "circuit") -> float | int:
        """MIB's f of a row: its metric's place between the empty and the full model's."""
        empty, full = self.metric(metric, "empty"), self.metric(metric, "full")
        return faithfulness(self.metric(metric, row), empty, full)

    def faithfulness_curve(
        self, metric: str = "logit_difference"
    ) -> tuple[tuple[float | int, ...], tuple[float, ...]]:
        """Densities and f at each point of the curve, as `edgewise.curve` integrates them."""
        empty, full = self.metric(metric, "empty"), self.metric(metric, "full")
        f = tuple(faithfulness(point.metrics[metric], empty, full) for point in self.curve)
        return tuple(point.density for point in self.curve), f

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        data = asdict(self)
        for point in data["curve"]:
            point.update(point.pop("metrics"))
        # Through text, which turns tuples to lists and refuses NaN.
        return json.loads(json.dumps({"format": _FORMAT, **data}, allow_nan=False))

    @classmethod
    def from_json(cls, data: Any) -> "Report":
        """The report that `to_json` wrote; RunError for anything else."""
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise RunError(f"no report: its format is {found!r}, not {_FORMAT!r}")
        try:
            given = {key: value for key, value in data.items() if key != "format"}
            given["rows"] = {name: _row(row) for name, row in data["rows"].items()}
            given["curve"] = tuple(_point(point) for point in data["curve"])
            given["samples"] = tuple(_sample(sample) for sample in data["samples"])
            return cls(**given)
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"no report: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file `path` if it ends in .json, else report.json in the folder `path`."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        return atomic_write(file_in(path, "report.json"), text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Reads what `save` wrote, from the file or its folder; RunError if it is no report."""
        file = file_in(path, "report.json")
        try:
            return cls.from_json(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RunError(f"{file} does not exist: evaluate the run first") from error
        except json.JSONDecodeError as error:
            raise RunError(f"{file} is no JSON file: {error}") from error
        except RunError as error:
            raise RunError(f"{file}: {error}") from error

    def __str__(self) -> str:
        names = [name for name in _COLUMNS if name in self.rows["circuit"].metrics]
        head = ["", "edges", "alive", "density", *(_COLUMNS[name] for name in names)]
        lines = [head]
        for label, row in self.rows.items():
            values = [row.metrics[name].mean for name in names]
            lines.append([label, *_size(row), *(f"{value:z.3f}" for value in values)])
        title = (
            f"{self.model} on {self.task}, {self.split}: {self.n_prompts:,} prompts, "
            f"{self.ablation} ablation"
        )
        parts = [title, aligned(lines), self._details()]
        if self.curve:
            means = [[f"{p.metrics[name]:z.3f}" for name in names] for p in self.curve]
            points = zip(self.curve, means, strict=True)
            lines = [[f"by {self.curve_by}", *head[1:]]]
            lines += [["", *_size(point), *values] for point, values in points]
            parts += [aligned(lines), self._areas()]
        return "\n\n".join(part for part in parts if part)

    def _details(self) -> str:
        """The circuit's intervals, its worst prompts, and the full model's errors apart."""
        found = self.rows["circuit"].metrics
        lines = []
        if "kl" in found:
            lines.append(f"circuit: KL {_interval(found['kl'])}")
            for name, label in (("kl_p95", "95th percentile"), ("kl_max", "maximum")):
                lines[-1] += f", {label} {found[name].mean:z.3f}" if name in found else ""
        if "exact_match" in found:
            lines.append(f"exact match {_interval(found['exact_match'])}")
            right = round(self.metric("accuracy", "full") * self.n_prompts)
            for verdict, n in (("right", right), ("wrong", self.n_prompts - right)):
                if (name := f"exact_match_{verdict}") in found:
                    lines[-1] += f", {found[name].mean:z.3f} where the model is {verdict} ({n:,})"
        return "\n".join(lines)

    def _areas(self) -> str:
        """MIB's areas under the curve, for tasks with a metric that can have them."""
        contrasts = ("logit_difference", "probability_difference")
        metric = next((name for name in contrasts if name in self.curve[0].metrics), None)
        if metric is None or len(self.curve) < 2:
            return ""
        try:
            k, f = self.faithfulness_curve(metric)
        except DataError:  # full and empty alike
            return ""
        return (
            f"faithfulness f of the {metric.replace('_', ' ')}: CPR {cpr(k, f):z.3f}, "
            f"CMD {cmd(k, f):z.3f}, mean over ln(density) {log_area(k, f):z.3f}"
        )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:z.3f} ({estimate.low:z.3f} to {estimate.high:z.3f})"


def _size(row: Row | Point) -> list[str]:
    return [f"{row.edges:,}", f"{row.edges_alive:,}", percent(row.density)]


def _row(data: Mapping[str, Any]) -> Row:
    metrics = {name: Estimate(**estimate) for name, estimate in data["metrics"].items()}
    return Row(**{**data, "metrics": metrics})


def _point(data: Mapping[str, Any]) -> Point:
    metrics = dict(data)
    size = {name: metrics.pop(name) for name in ("density", "edges", "edges_alive")}
    return Point(**size, metrics=metrics)


def _sample(data: Mapping[str, Any]) -> Sample:
    best = {who: tuple((text, p) for text, p in data[who]) for who in ("full", "circuit")}
    return Sample(**{**data, **best})
