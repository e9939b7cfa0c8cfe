"""What an evaluation found, as data, as JSON and as a table. No model, no torch.

It is saved as `report.json`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgewise.curve import DENSITIES, cmd, cpr, edges_at, faithfulness, log_area
from edgewise.errors import DataError, RunError
from edgewise.estimate import Estimate
from edgewise.files import EVALUATE_AGAIN, atomic_write, file_in
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
_CONTRASTS = ("logit_difference", "probability_difference")
_AVERAGED = ("kl", "exact_match", "accuracy")
_AREAS = {
    "cpr": "CPR",
    "cmd": "CMD",
    "f": "f ~",
    **{name: f"{_COLUMNS[name]} ~" for name in _AVERAGED},
}


@dataclass(frozen=True)
class Row:
    """One circuit's size and metrics; `edges_alive` are on a path from an input to the logits."""

    edges: int
    edges_alive: int
    density: float | int
    metrics: Mapping[str, Estimate]


Predictions = tuple[tuple[str, float | int], ...]


@dataclass(frozen=True)
class Sample:
    """A prompt and the likeliest next tokens, best first, at its first answer position."""

    prompt: str
    corrupted: str
    answer: str
    full: Predictions
    circuit: Predictions


@dataclass(frozen=True, repr=False)
class Report:
    """How a circuit does on a split of a task, beside the circuits it must be compared with.

    n_edges    edges of the whole graph
    rows       "circuit", "full" (every edge), "empty" (none), "random" (as many edges), others
    curves     by what ranked the edges, "value" or "magnitude": the best of them, by rising density
    order      which of the two is the scores' own
    """

    model: str
    task: str
    split: str
    ablation: str
    n_prompts: int
    n_edges: int
    rows: Mapping[str, Row]
    samples: tuple[Sample, ...] = ()
    curves: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    order: str = "value"

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
        self.metric(metric, row)  # DataError if it isn't there
        return self._faithfulness(self.rows[row], metric)

    def _faithfulness(self, row: Row, metric: str) -> float | int:
        empty, full = self.metric(metric, "empty"), self.metric(metric, "full")
        return faithfulness(row.metrics[metric].mean, empty, full)

    @property
    def curve(self) -> tuple[Row, ...]:
        """The curve in the scores' own order; empty if it wasn't evaluated."""
        return self.curves.get(self.order, ())

    def faithfulness_at(
        self, densities: Sequence[float | int], metric: str, by: str
    ) -> tuple[float, ...] | None:
        """MIB's f of the best edges at each density, or None if one of them wasn't evaluated."""
        empty, full = self.metric(metric, "empty"), self.metric(metric, "full")
        known = {row.edges: row.metrics[metric].mean for row in self.curves.get(by, ())}
        known |= {0: empty, self.n_edges: full}
        sizes = [edges_at(density, self.n_edges) for density in densities]
        if not set(sizes) <= set(known):
            return None
        return tuple(faithfulness(known[size], empty, full) for size in sizes)

    def areas(self) -> dict[str, dict[str, float]]:
        """One number for a curve, for each ranking: MIB's, and means over ln(density).

        cpr, cmd    MIB's, if its ten densities were evaluated; it takes CPR of the ranking by value
                    and CMD of the ranking by magnitude
        f, kl, ...  faithfulness and metrics, averaged over ln(density) from the first point to the
                    last

        cpr, cmd and f are of the contrast between answers that the task has; without one, or where
        the full and the empty circuit are alike in it, they aren't there.
        """
        found: dict[str, dict[str, float]] = {}
        for by, rows in self.curves.items():
            if len(rows) < 2:
                continue
            found[by] = self._faithfulness_areas(by, rows)
            k = [row.density for row in rows]
            for name in (name for name in _AVERAGED if name in rows[0].metrics):
                found[by][name] = log_area(k, [row.metrics[name].mean for row in rows])
        return found

    def _faithfulness_areas(self, by: str, rows: Sequence[Row]) -> dict[str, float]:
        metric = next((name for name in _CONTRASTS if name in rows[0].metrics), None)
        if metric is None:
            return {}
        try:
            f = [self._faithfulness(row, metric) for row in rows]
        except DataError:  # full and empty alike
            return {}
        found = {"f": log_area([row.density for row in rows], f)}
        if (mib := self.faithfulness_at(DENSITIES, metric, by)) is not None:
            found = {"cpr": cpr(DENSITIES, mib), "cmd": cmd(DENSITIES, mib), **found}
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        data = asdict(self)
        # Through text, which turns tuples to lists and refuses NaN.
        return json.loads(json.dumps({"format": _FORMAT, **data}, allow_nan=False))

    @classmethod
    def from_json(cls, data: Any) -> "Report":
        """The report that `to_json` wrote; RunError for anything else."""
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise RunError(f"no report: its format is {found!r}, not {_FORMAT!r}")
        try:
            given = {one.name: data[one.name] for one in fields(cls) if one.name in data}
            given["rows"] = {name: _row(row) for name, row in data["rows"].items()}
            given["samples"] = tuple(_sample(sample) for sample in data["samples"])
            given["curves"] = {
                by: tuple(_row(row) for row in rows) for by, rows in data.get("curves", {}).items()
            }
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
        except RunError as error:
            raise RunError(f"{file}: {error}; {EVALUATE_AGAIN}") from error
        except ValueError as error:
            raise RunError(f"{file} is no JSON file: {error}; {EVALUATE_AGAIN}") from error

    def __repr__(self) -> str:
        what = f"{self.model} on {self.task}, {self.n_prompts:,} {self.split} prompts"
        if "circuit" not in self.rows:
            return f"<Report: {what}>"
        kl = self.rows["circuit"].metrics.get("kl")
        found = "" if kl is None else f", KL {kl.mean:z.3f}"
        return f"<Report of {self.edges:,} of {self.n_edges:,} edges: {what}{found}>"

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
        for by, rows in self.curves.items():
            means = [[f"{row.metrics[name].mean:z.3f}" for name in names] for row in rows]
            sized = zip(rows, means, strict=True)
            lines = [
                [f"by {by}", *head[1:]],
                *(["", *_size(row), *values] for row, values in sized),
            ]
            parts.append(aligned(lines))
        return "\n\n".join(part for part in [*parts, self._areas()] if part)

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
        """A line for each ranking: MIB's areas, and what is averaged over ln(density)."""
        found = self.areas()
        if not found:
            return ""
        names = [name for name in _AREAS if any(name in values for values in found.values())]
        lines = [["area under the curve", *(_AREAS[name] for name in names)]]
        for by, values in found.items():
            cells = [f"{values[name]:z.3f}" if name in values else "-" for name in names]
            lines.append([f"by {by}", *cells])
        text = aligned(lines)
        if "f" in names:
            text += "\nf: 0 without edges, 1 for the full model. ~: mean over ln(density)."
            text += " MIB takes CPR by value, CMD by magnitude"
        return text


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:z.3f} ({estimate.low:z.3f} to {estimate.high:z.3f})"


def _size(row: Row) -> list[str]:
    return [f"{row.edges:,}", f"{row.edges_alive:,}", percent(row.density)]


def _row(data: Mapping[str, Any]) -> Row:
    metrics = {name: Estimate(**estimate) for name, estimate in data["metrics"].items()}
    return Row(**{**data, "metrics": metrics})


def _sample(data: Mapping[str, Any]) -> Sample:
    best = {who: tuple((text, p) for text, p in data[who]) for who in ("full", "circuit")}
    return Sample(**{**data, **best})
