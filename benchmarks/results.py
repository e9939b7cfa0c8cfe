"""Regenerate the tables of docs/results.md: `make results`, or a part of it.

    python benchmarks/results.py [--models smollm2-135m gemma3-270m] [--tasks ioi ...]
        [--densities 0.005 0.01 0.02 0.05 0.1] [--seeds 0 1 2] [--methods edge-pruning eap eap-ig]
        [--ioi-sizes 200 400 10000] [--paper-steps 0] [--part 1/2] [--tables]

Edge Pruning runs once for each density and seed; a method that ranks runs once, and its best edges
are measured at every density; ACDC runs once, at its threshold, on the models where it ends within
an hour. All are measured on the same unseen prompts. Runs live under
runs/results and are gone on with or reused. The table of a model and task is written from whatever
of it is finished, so the script may be stopped at any time, and several may work on a part of the
plan each; tables of which no run is here stay. --tables writes them and runs nothing.
--ioi-sizes N ... adds Edge Pruning trained on N prompts of IOI, in a table of its own;
--paper-steps N the paper's preset on IOI, at N steps with its warm-ups in proportion (3000 is
the paper's).
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import edgewise
from edgewise.discovery import METHODS, EdgePruning, Method
from edgewise.models.model import Model
from edgewise.report import Report, Row
from edgewise.table import filled
from edgewise.tasks import make

RUNS = Path("runs/results")
PAGE = Path("docs/results.md")
MARK = "table"
TRAIN, TEST = {"ioi": 2000}, {"capitals": 100}  # prompts; else the task's own number, and 200
PROMPTS = 200  # that a ranking is averaged over
ACDC_ENDS = ("gemma3-270m",)  # within an hour on two cores
TASKS = ("ioi", "greater-than", "gendered-pronoun", "capitals")
BY_PROMPTS = "-by-prompts"
METRICS = {
    "kl": "KL (nats)",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "logit_difference": "logit difference",
    "probability_difference": "probability difference",
}


@dataclass(frozen=True)
class Run:
    """One search: where it goes, and everything that tells it from another."""

    model: str
    task: str
    name: str
    method: Method
    seed: int = 0
    train: int | None = None

    @property
    def folder(self) -> Path:
        task = self.task if self.train is None else self.task + BY_PROMPTS
        return RUNS / self.model / task / self.name


def planned(given: argparse.Namespace) -> Iterator[Run]:
    """Every run asked for, those that most depends on first."""
    largest = max(given.densities)
    for model in given.models:
        for task in given.tasks:
            for name in given.methods:
                if name == "edge-pruning" or (name == "acdc" and model not in ACDC_ENDS):
                    continue
                fields = {} if name == "acdc" else {"density": largest, "prompts": PROMPTS}
                yield Run(model, task, name, METHODS[name](**fields))
        for seed in given.seeds if "edge-pruning" in given.methods else ():
            for task in given.tasks:
                for density in given.densities:
                    name = f"edge-pruning-{density}-{seed}"
                    yield Run(model, task, name, EdgePruning(density=density), seed)
    for size in given.ioi_sizes:
        yield Run(given.models[0], "ioi", f"prompts-{size}", EdgePruning(), train=size)
    if given.paper_steps:
        share = given.paper_steps / 3000
        changes = {
            "steps": given.paper_steps,
            "warmup": round(200 * share),
            "sparsity_warmup": round(2500 * share),
        }
        name = f"paper-{given.paper_steps}"
        yield Run(given.models[0], "ioi", name, EdgePruning.paper("ioi", **changes))


def execute(run: Run, model: Model, densities: list[float]) -> None:
    """Search and measure, unless that is done."""
    if (run.folder / "report.json").exists():
        return
    print(f"{run.folder} ...", flush=True)
    train = run.train or TRAIN.get(run.task)
    task = make(run.task, model.tokenizer, train=train, test=TEST.get(run.task, 200))
    found = edgewise.discover(model, task, run.method, out=run.folder, seed=run.seed)
    curve = {} if found.history else {"scores": found.scores, "densities": densities}
    report = edgewise.evaluate(model, task, found.circuit, batch_size=25, **curve)
    report.save(run.folder)
    print(f"{run.folder}: KL {report.kl:.3f}, exact match {report.exact_match:.3f}", flush=True)


# --- tables --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A circuit of some size that a method found."""

    label: str
    seed: int
    row: Row
    seconds: float
    circuit: edgewise.Circuit | None
    prompts: int


def points(folder: Path) -> Iterator[Point]:
    """The circuits that a finished run measured."""
    report, config = Report.load(folder), json.loads((folder / "config.json").read_text())
    circuit = edgewise.Circuit.load(folder)
    seconds, label, seed = circuit.provenance["seconds"], config["method"]["name"], config["seed"]
    if folder.name.startswith("paper"):
        label = f"paper's preset, {config['method']['steps']} steps"
    prompts = config["task"]["train"]
    if folder.parent.name.endswith(BY_PROMPTS):
        label = f"{label}, {prompts:,} prompts"
    if report.curve:
        yield from (Point(label, seed, row, seconds, None, prompts) for row in report.curve)
    else:
        yield Point(label, seed, report.rows["circuit"], seconds, circuit, prompts)


def cell(metric: str, rows: list[Row]) -> str:
    """Mean and spread over seeds; of one run, its bootstrap interval."""
    found = [row.metrics[metric] for row in rows]
    if len(found) == 1:
        return f"{found[0].mean:.3f} ({found[0].low:.2f} to {found[0].high:.2f})"
    means = [one.mean for one in found]
    return f"{sum(means) / len(means):.3f} [{min(means):.3f} to {max(means):.3f}]"


def table(folder: Path) -> list[str]:
    """A line for each size and method, seeds together."""
    groups = defaultdict(list)
    for report in sorted(folder.glob("*/report.json")):
        for point in points(report.parent):
            size = 0.0 if point.label.startswith("paper") else point.row.density
            groups[round(size, 3), point.prompts, point.label].append(point)
    first = next(iter(groups.values()))[0].row
    shown = [name for name in METRICS if name in first.metrics]
    titles = " | ".join(METRICS[name] for name in shown)
    lines = [f"| edges | method | seeds | {titles} | overlap of seeds | seconds |"]
    lines.append("|" + " --- |" * (len(shown) + 5))
    for (_, _, label), found in sorted(groups.items()):
        rows = [point.row for point in found]
        ious = [a.circuit.overlap(b.circuit).iou for a, b in combinations(found, 2) if a.circuit]
        seconds = sum(point.seconds for point in found) / len(found)
        cells = [
            f"{rows[0].edges:,} ({rows[0].density:.2%})",
            label,
            str(len(found)),
            *(cell(name, rows) for name in shown),
            f"{sum(ious) / len(ious):.2f}" if ious else "",
            f"{seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write() -> None:
    """Put a table for each model and task between the page's marks; where this machine has no runs
    of one, what the page says stays."""
    page = PAGE.read_text()
    written = page.partition(f"<!-- {MARK}: begin -->")[2].partition(f"<!-- {MARK}: end -->")[0]
    tables = {}
    for part in written.split("### ")[1:]:
        title, _, lines = part.partition("\n\n")
        tables[title] = lines.strip()
    for folder in RUNS.glob("*/*"):
        if any(folder.glob("*/report.json")):
            tables[f"{folder.parent.name}, {folder.name}"] = "\n".join(table(folder))
    parts = [f"### {title}\n\n{lines}" for title, lines in sorted(tables.items())]
    PAGE.write_text(filled(page, MARK, "\n\n".join(parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "gemma3-270m"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument(
        "--densities", type=float, nargs="+", default=[0.02, 0.01, 0.005, 0.05, 0.1]
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=["edge-pruning", "eap", "eap-ig", "acdc"])
    parser.add_argument("--ioi-sizes", type=int, nargs="*", default=[])
    parser.add_argument("--paper-steps", type=int, default=0)
    parser.add_argument("--part", default="1/1", help="2/3 is every third run from the second on")
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    models: dict[str, Model] = {}
    for run in () if given.tables else list(planned(given))[part - 1 :: parts]:
        if run.model not in models:
            models = {run.model: edgewise.load(run.model)}
        execute(run, models[run.model], given.densities)
        write()
    write()


if __name__ == "__main__":
    main()
