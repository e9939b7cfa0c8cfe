"""Regenerate the tables of docs/results.md: `make results`, or a part of it.

    python benchmarks/results.py [--models smollm2-135m gemma3-270m] [--tasks ioi ...]
        [--densities 0.005 0.01 0.02 0.05] [--seeds 0 1 2] [--methods edge-pruning eap eap-ig]
        [--ioi-sizes 200 400 10000] [--paper-steps 0] [--part 1/2] [--missing] [--tables]

Edge Pruning runs once for each density and seed; a method that ranks runs once, and its best edges
are measured at every density; ACDC runs once, at its threshold. All are measured on the same unseen
prompts. Runs live under runs/results and are gone on with or reused, and what each gave is a line
of results.csv (`ledger`), which the tables are written from: the script may be stopped at any time,
and several may work on a part of the plan each.
--missing leaves out what results.csv has from any machine; --tables writes the tables alone.
--ioi-sizes N ... adds Edge Pruning trained on N prompts of IOI, in a table of its own;
--paper-steps N the paper's preset on IOI, at N steps with its warm-ups in proportion (3000 is
the paper's).
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import ledger
from table import commit, processor

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
TASKS = ("ioi", "greater-than", "gendered-pronoun", "capitals")
RANKINGS = ("eap", "eap-ig")
JUDGED = ("greater-than",)  # with right and wrong sets: rankings by their probability too
BY_PROMPTS = "-by-prompts"


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
    def table(self) -> str:
        """The task, as the tables have it."""
        return self.task if self.train is None else self.task + BY_PROMPTS

    @property
    def folder(self) -> Path:
        return RUNS / self.model / self.table / self.name

    @property
    def label(self) -> str:
        """The method, as the tables have it."""
        if self.train is not None:
            return f"{self.method.name}, {self.train:,} prompts"
        if self.name.startswith("paper"):
            return f"paper's preset, {self.method.steps} steps"
        if getattr(self.method, "metric", None) == "probability_difference":
            return f"{self.method.name}, by probability"
        return self.method.name

    def known(self, densities: list[float]) -> bool:
        """Whether the ledger has it: a ranking at every density, ACDC at any."""
        sizes = {
            round(line.density, 3)
            for line in ledger.load()
            if (line.model, line.task, line.method) == (self.model, self.table, self.label)
            and self.seed in line.seeds
        }
        if self.method.name in RANKINGS:
            return sizes.issuperset(densities)
        return self.method.density in sizes if self.label == "edge-pruning" else bool(sizes)


def planned(given: argparse.Namespace) -> Iterator[Run]:
    """Every run asked for, those that most depends on first."""
    largest = max(given.densities)
    for model in given.models:
        for task in given.tasks:
            for name in given.methods:
                if name == "edge-pruning":
                    continue
                if name == "acdc":
                    yield Run(model, task, name, METHODS[name]())
                    continue
                method = METHODS[name](density=largest, prompts=PROMPTS)
                yield Run(model, task, name, method)
                if task in JUDGED:
                    other = replace(method, metric="probability_difference")
                    yield Run(model, task, f"{name}-by-probability", other)
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
    """Search and measure, unless that is done, and put down what was found."""
    if not (run.folder / "report.json").exists():
        print(f"{run.folder} ...", flush=True)
        train = run.train or TRAIN.get(run.task)
        task = make(run.task, model.tokenizer, train=train, test=TEST.get(run.task, 200))
        found = edgewise.discover(model, task, run.method, out=run.folder, seed=run.seed)
        curve = {} if found.history else {"scores": found.scores, "densities": densities}
        report = edgewise.evaluate(model, task, found.circuit, batch_size=25, **curve)
        report.save(run.folder)
        print(f"{run.folder}: KL {report.kl:.3f}, exact match {report.exact_match:.3f}", flush=True)
    elif run.known(densities):
        return
    ledger.record(list(lines(run)))
    PAGE.write_text(filled(PAGE.read_text(), MARK, ledger.tables()))


def lines(run: Run) -> Iterator[ledger.Line]:
    """The circuits that a finished run measured."""
    report, circuit = Report.load(run.folder), edgewise.Circuit.load(run.folder)
    config = json.loads((run.folder / "config.json").read_text())
    lower = (run.folder.with_name(run.name[:-1] + str(seed)) for seed in range(run.seed))
    others = [edgewise.Circuit.load(one) for one in lower if (one / "report.json").exists()]
    for row in report.curve or [report.rows["circuit"]]:
        yield ledger.Line(
            model=run.model,
            task=run.table,
            method=run.label,
            prompts=config["task"]["train"],
            edges=row.edges,
            density=row.density,
            seeds=(run.seed,),
            metrics=_metrics(row),
            overlap=tuple(circuit.overlap(other).iou for other in others),
            seconds=circuit.provenance["seconds"],
            dtype=config["search_dtype"],
            processor=processor(),
            commit=commit(),
        )


def _metrics(row: Row) -> dict[str, tuple[float, float, float]]:
    found = {name: row.metrics[name] for name in ledger.METRICS if name in row.metrics}
    return {name: (one.mean, one.low, one.high) for name, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "gemma3-270m"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--densities", type=float, nargs="+", default=[0.02, 0.01, 0.005, 0.05])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=["edge-pruning", "eap", "eap-ig", "acdc"])
    parser.add_argument("--ioi-sizes", type=int, nargs="*", default=[])
    parser.add_argument("--paper-steps", type=int, default=0)
    parser.add_argument("--part", default="1/1", help="2/3 is every third run from the second on")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    models: dict[str, Model] = {}
    runs = [] if given.tables else list(planned(given))
    if given.missing:
        runs = [run for run in runs if not run.known(given.densities)]
    for run in runs[part - 1 :: parts]:
        if run.model not in models:
            models = {run.model: edgewise.load(run.model)}
        execute(run, models[run.model], given.densities)
    PAGE.write_text(filled(PAGE.read_text(), MARK, ledger.tables()))


if __name__ == "__main__":
    main()
