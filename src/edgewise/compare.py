"""Runs side by side: a line of numbers for each, and how much their circuits share. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from edgewise.circuit import Circuit, Overlap
from edgewise.errors import DataError
from edgewise.files import readable
from edgewise.report import Report
from edgewise.table import aligned, percent

METRICS = {"kl": "KL", "exact_match": "exact match", "accuracy": "accuracy"}
SETTINGS = ("model", "task", "split", "ablation", "n_prompts")


@dataclass(frozen=True)
class Line:
    """One run: its circuit's size, its report's means, and what its search took.

    seconds, peak_bytes   of the search; peak_bytes as in `edgewise.peak`; None if not known
    metrics, settings     empty without a report; `settings` are what the report is of
    """

    edges: int
    edges_alive: int
    density: float | int
    metrics: Mapping[str, float | int]
    seconds: float | int | None
    peak_bytes: int | None
    settings: Mapping[str, str | int]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    lines      a line for each run, in the order of `compare`
    overlaps   each pair of circuits of one graph, once, in that order
    apart      whether there are circuits of different graphs, which share no edges to compare
    differing  settings in which the reports differ, so that their metrics can't be compared as such
    """

    lines: Mapping[str, Line]
    overlaps: Mapping[tuple[str, str], Overlap]
    apart: bool

    @property
    def differing(self) -> tuple[str, ...]:
        found = {
            name: {line.settings[name] for line in self.lines.values() if line.settings}
            for name in SETTINGS
        }
        return tuple(name for name, values in found.items() if len(values) > 1)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; null where chance expects no shared edge."""
        pairs = [
            {
                "runs": list(names),
                **asdict(overlap),
                "iou": overlap.iou,
                "times_chance": overlap.times_chance if overlap.expected else None,
            }
            for names, overlap in self.overlaps.items()
        ]
        lines = {name: asdict(line) for name, line in self.lines.items()}
        return {"runs": lines, "overlaps": pairs, "differing": list(self.differing)}

    def __str__(self) -> str:
        parts = [self._table()]
        if self.differing:
            these = ", ".join(self.differing)
            parts.append(f"the reports differ in {these}: their metrics are not of one kind")
        if self.apart:
            parts.append("circuits of different graphs aren't compared edge by edge")
        if self.overlaps:
            parts.append(
                "overlap: edges in both above the diagonal, in both / in either below it\n"
                + self._matrix(lambda o: f"{o.intersection:,}", lambda o: f"{o.iou:.3f}")
            )
        if len(self.overlaps) > 1:
            parts.append(
                "by chance: edges expected in both above the diagonal, p-value below it\n"
                + self._matrix(lambda o: f"{o.expected:,.3g}", lambda o: _probability(o.p_value))
            )
        if len(self.overlaps) == 1:
            ((a, b), overlap) = next(iter(self.overlaps.items()))
            p = _probability(overlap.p_value)
            chance = f" (p {p if p.startswith('<') else '= ' + p})"
            if overlap.expected:
                chance = f", {overlap.times_chance:,.3g} times what chance would give{chance}"
            parts.append(f"{a} and {b} share {overlap.intersection:,} edges{chance}")
        return "\n\n".join(parts)

    def _table(self) -> str:
        shown = [m for m in METRICS if any(m in line.metrics for line in self.lines.values())]
        timed = any(line.seconds is not None for line in self.lines.values())
        head = ["", *self.differing, "edges", "alive", "density", *(METRICS[m] for m in shown)]
        weighed = any(line.peak_bytes is not None for line in self.lines.values())
        rows = [head + ["seconds"] * timed + ["memory"] * weighed]
        for name, line in self.lines.items():
            cells = [name, *(str(line.settings.get(s, "-")) for s in self.differing)]
            cells += [f"{line.edges:,}", f"{line.edges_alive:,}", percent(line.density)]
            cells += [f"{line.metrics[m]:z.3f}" if m in line.metrics else "-" for m in shown]
            if timed:
                cells.append("-" if line.seconds is None else f"{line.seconds:,.0f}")
            if weighed:
                cells.append("-" if line.peak_bytes is None else readable(line.peak_bytes))
            rows.append(cells)
        return aligned(rows)

    def _matrix(self, above: Callable[[Overlap], str], below: Callable[[Overlap], str]) -> str:
        """A cell a pair; sizes on the diagonal, a dash for circuits of different graphs."""
        names = [name for name in self.lines if any(name in pair for pair in self.overlaps)]
        rows = [["", *names]]
        for i, row in enumerate(names):
            cells = [row]
            for j, column in enumerate(names):
                overlap = self.overlaps.get((row, column) if i < j else (column, row))
                if i == j:
                    cells.append(f"{self.lines[row].edges:,}")
                elif overlap is None:
                    cells.append("-")
                else:
                    cells.append(above(overlap) if i < j else below(overlap))
            rows.append(cells)
        return aligned(rows)


def compare(
    reports: Mapping[str, Report],
    circuits: Mapping[str, Circuit] | None = None,
    seconds: Mapping[str, float | int] | None = None,
    peaks: Mapping[str, int] | None = None,
) -> Comparison:
    """Runs by name: their reports and circuits, what their searches took, as far as known.

    Lines come in the order of `circuits`, then those of `reports` that have no circuit. A run has a
    report, a circuit, or both. Raises DataError for none at all, and for a circuit that is not the
    one its report is of.
    """
    circuits, seconds, peaks = circuits or {}, seconds or {}, peaks or {}
    names = tuple(dict.fromkeys([*circuits, *reports]))
    if not names:
        raise DataError("nothing to compare: give at least one run")
    lines = {
        name: _line(name, reports.get(name), circuits.get(name), seconds.get(name), peaks.get(name))
        for name in names
    }
    apart = len({circuit.graph for circuit in circuits.values()}) > 1
    found = overlaps([name for name in names if name in circuits], circuits)
    return Comparison(lines, found, apart)


def overlaps(
    names: Sequence[str], circuits: Mapping[str, Circuit]
) -> dict[tuple[str, str], Overlap]:
    """Every pair of circuits of one graph, once."""
    return {
        (a, b): circuits[a].overlap(circuits[b])
        for a, b in combinations(names, 2)
        if circuits[a].graph == circuits[b].graph
    }


def _line(
    name: str,
    report: Report | None,
    circuit: Circuit | None,
    seconds: float | int | None,
    peak_bytes: int | None,
) -> Line:
    if report is None:
        alive = int(circuit.alive.sum())
        return Line(circuit.n_edges, alive, circuit.density, {}, seconds, peak_bytes, {})
    if circuit is not None and (circuit.n_edges, circuit.graph.n_edges) != (
        report.edges,
        report.n_edges,
    ):
        raise DataError(
            f"{name}: the report is of {report.edges:,} of {report.n_edges:,} edges, the circuit "
            f"has {circuit.n_edges:,} of {circuit.graph.n_edges:,}: evaluate it again"
        )
    found = report.rows["circuit"].metrics
    return Line(
        edges=report.edges,
        edges_alive=report.edges_alive,
        density=report.density,
        metrics={metric: estimate.mean for metric, estimate in found.items()},
        seconds=seconds,
        peak_bytes=peak_bytes,
        settings={setting: getattr(report, setting) for setting in SETTINGS},
    )


def _probability(p: float) -> str:
    """0 is what is left of a number too small to be one."""
    return f"{p:.2g}" if p else "< 1e-300"
