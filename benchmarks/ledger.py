"""What the searches of docs/results.md gave, a line for each circuit: benchmarks/results.csv.

Run folders are large and stay on the machine that made them. The lines are small and are committed,
so that a table may be of runs on several machines, each of the commit and processor that its line
names. A line is of one seed, or of several at once: then low and high are the least and the largest
mean over seeds, else a bootstrap 95% interval. `overlap` has the intersection over union with each
circuit of a lower seed that was there.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewise.files import atomic_write
from edgewise.table import markdown

LEDGER = Path(__file__).parent / "results.csv"
METRICS = {
    "kl": "KL (nats)",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "logit_difference": "logit difference",
    "probability_difference": "probability difference",
}
SPREAD = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
COLUMNS = ["model", "task", "method", "prompts", "edges", "density", "seeds", *SPREAD]
COLUMNS += ["overlap", "seconds", "dtype", "processor", "commit"]


@dataclass(frozen=True)
class Line:
    """A circuit, or those of several seeds; `metrics` are (mean, low, high) by name."""

    model: str
    task: str
    method: str
    prompts: int
    edges: int
    density: float
    seeds: tuple[int, ...]
    metrics: dict[str, tuple[float, float, float]]
    overlap: tuple[float, ...]
    seconds: float
    dtype: str
    processor: str
    commit: str

    @property
    def group(self) -> tuple[str, str, float, int, str]:
        """What the seeds of a line of the table share; a preset, which sets its own size, first."""
        size = 0.0 if self.method.startswith("paper") else round(self.density, 3)
        return self.model, self.task, size, self.prompts, self.method


def load() -> list[Line]:
    """All lines."""
    with LEDGER.open(newline="") as file:
        return [_line(row) for row in csv.DictReader(file)]


def record(lines: Sequence[Line]) -> None:
    """Put lines in the ledger, in the place of those of the same circuits; a line of several seeds
    goes when each of them has one."""
    new = {(line.group, line.seeds) for line in lines}
    everything = [line for line in load() if (line.group, line.seeds) not in new] + [*lines]
    alone = {(line.group, line.seeds) for line in everything}
    kept = [
        line
        for line in everything
        if len(line.seeds) == 1 or not all((line.group, (seed,)) in alone for seed in line.seeds)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in sorted(kept, key=lambda line: (line.group, line.seeds)):
        writer.writerow(_cells(line))
    atomic_write(LEDGER, text.getvalue())


def tables() -> str:
    """The page's tables, one for each model and task."""
    groups = defaultdict(list)
    for line in sorted(load(), key=lambda line: -len(line.seeds)):
        if not any(set(line.seeds) <= set(other.seeds) for other in groups[line.group]):
            groups[line.group].append(line)
    parts: dict[str, list[list[Line]]] = defaultdict(list)
    for (model, task, *_), lines in sorted(groups.items()):
        parts[f"### {model}, {task}\n\n"].append(lines)
    return "\n\n".join(title + markdown(list(_rows(lines))) for title, lines in parts.items())


def _rows(groups: Sequence[Sequence[Line]]) -> Iterator[list[str]]:
    shown = [name for name in METRICS if name in groups[0][0].metrics]
    head = ["edges", "method", "seeds", *(METRICS[name] for name in shown)]
    yield [*head, "overlap of seeds", "seconds"]
    for lines in groups:
        overlaps = [one for line in lines for one in line.overlap]
        seconds = sum(line.seconds for line in lines) / len(lines)
        yield [
            f"{lines[0].edges:,} ({lines[0].density:.2%})",
            lines[0].method,
            str(sum(len(line.seeds) for line in lines)),
            *(_spread(name, lines) for name in shown),
            f"{sum(overlaps) / len(overlaps):.2f}" if overlaps else "",
            f"{seconds:.0f}",
        ]


def _spread(name: str, lines: Sequence[Line]) -> str:
    """Mean and spread over seeds; of one, its bootstrap interval."""
    found = [line.metrics[name] for line in lines]
    if len(lines) == 1 and len(lines[0].seeds) == 1:
        return "{:.3f} ({:.2f} to {:.2f})".format(*found[0])
    counts = [len(line.seeds) for line in lines]
    # The extremes of a line of several seeds are means of seeds, its own mean is of all of them.
    ends = [
        end
        for (mean, *both), count in zip(found, counts, strict=True)
        for end in (both if count > 1 else [mean])
    ]
    mean = sum(each[0] * count for each, count in zip(found, counts, strict=True)) / sum(counts)
    return f"{mean:.3f} [{min(ends):.3f} to {max(ends):.3f}]"


def _cells(line: Line) -> dict[str, str]:
    cells = {name: str(getattr(line, name)) for name in COLUMNS if name not in SPREAD}
    cells["seeds"] = " ".join(map(str, line.seeds))
    cells["overlap"] = " ".join(f"{one:.3f}" for one in line.overlap)
    cells["density"], cells["seconds"] = f"{line.density:.6f}", f"{line.seconds:.0f}"
    for name, values in line.metrics.items():
        for end, value in zip(("", "_low", "_high"), values, strict=True):
            cells[name + end] = f"{value:.4f}"
    return cells


def _line(row: dict[str, str]) -> Line:
    metrics = {
        name: tuple(float(row[name + end]) for end in ("", "_low", "_high"))
        for name in METRICS
        if row[name]
    }
    return Line(
        model=row["model"],
        task=row["task"],
        method=row["method"],
        prompts=int(row["prompts"]),
        edges=int(row["edges"]),
        density=float(row["density"]),
        seeds=tuple(map(int, row["seeds"].split())),
        metrics=metrics,
        overlap=tuple(map(float, row["overlap"].split())),
        seconds=float(row["seconds"]),
        dtype=row["dtype"],
        processor=row["processor"],
        commit=row["commit"],
    )
