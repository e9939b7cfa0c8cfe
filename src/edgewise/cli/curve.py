"""`edgewise curve`: how faithful a run's ranking is at every density."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from edgewise import attention, runtime
from edgewise.cli import flags
from edgewise.cli.flags import OWN, MaybeInt, MaybePlace, MaybeText, Switch
from edgewise.cli.measuring import measure, save_patterns
from edgewise.cli.output import Output
from edgewise.cli.session import Finished
from edgewise.curve import DENSITIES, sizes_at
from edgewise.discovery import ACDC, EAP
from edgewise.evaluation import measured
from edgewise.models.model import Model
from edgewise.report import Report, Row
from edgewise.scores import EdgeScores
from edgewise.tasks import Task

AT_ONCE = 4  # points in one pass over the split: what an interrupted command loses

Point = tuple[str, int]  # what ranks the edges, and how many of the best are kept


@dataclass(frozen=True)
class Command:
    """Measure the best edges of a run's scores at several densities, with MIB's CPR and CMD.

    Points that the report has already are kept, so the command goes on where it was interrupted.
    """

    run: Positional[Path]  # a run folder
    densities: tuple[float, ...] = DENSITIES  # kept edges / all edges; MIB's ten unless given
    split: str = OWN  # train, validation or test
    seed: MaybeInt = None  # of the bootstrap; the run's own unless given
    batch_size: int = 32  # prompts at a time
    model: MaybeText = None  # where the run's model is now, if it has moved
    device: MaybeText = None  # cpu, cuda, ...
    shards: MaybeInt = None  # processes of torchrun that share the weights; each has all else
    offload: MaybePlace = None  # disk: weights stay in their files and come block by block
    json: Switch = False  # print the result as JSON
    quiet: Switch = False  # print the result alone

    def __call__(self) -> None:
        flags.check_least(self, batch_size=1, seed=0)
        with runtime.connected(self.device):
            self.measure()

    def measure(self) -> None:
        """In each process, if `torchrun` started several."""
        output = Output(self.json, self.quiet, not runtime.is_main())
        run = Finished.open(self.run)
        file = self.run / ("report.json" if self.split == OWN else f"report-{self.split}.json")
        report = Report.load(file) if file.exists() else None
        sizes = sizes_at(self.densities, run.scores.graph.n_edges)
        if report is None or missing(report, run.scores, sizes):
            report = self._measured(run, report, file, sizes, output)
        data = {"file": str(file), "areas": report.areas(), "report": report.to_json()}
        shown = ": `edgewise view` shows it" if self.split == OWN else ""
        output.result(f"{report}\n\n{file} holds the curve{shown}", data)

    def _measured(
        self, run: Finished, report: Report | None, file: Path, sizes: list[int], output: Output
    ) -> Report:
        """The report with all the points, saved as they come."""
        output.say(f"loading {self.model or run.config['model']['name']}")
        model = run.model(None, self.device, self.shards, self.offload, self.model)
        task = run.task(model)
        task.examples(self.split)
        if run.config["method"]["name"] == ACDC.name:
            output.warn(
                "ACDC's scores put its own circuit first and rank no others: points of other "
                "sizes say little"
            )
        if not runtime.number_from_main((self.run / attention.FILE).exists()):
            save_patterns(self.run, model, task, run.circuit, run.config["ablation"])
        if report is None:
            report = measure(
                model,
                task,
                run.circuit,
                output,
                split=self.split,
                ablation=run.config["ablation"],
                seed=run.seed(self.seed),
                batch_size=self.batch_size,
                with_eap=run.config["method"]["name"] != EAP.name,
            )
        report = saved(known(report, run.scores, sizes), file)
        todo = missing(report, run.scores, sizes)
        for start in range(0, len(todo), AT_ONCE):
            points = todo[start : start + AT_ONCE]
            report = self._pass(model, task, run, report, points, len(todo) - start, output)
            saved(report, file)
        return report

    def _pass(
        self,
        model: Model,
        task: Task,
        run: Finished,
        report: Report,
        points: list[Point],
        left: int,
        output: Output,
    ) -> Report:
        with output.progress(f"{left} points left") as progress:
            rows = measured(
                model,
                task,
                [run.scores.top(size, by) for by, size in points],
                self.split,
                ablation=run.config["ablation"],
                batch_size=self.batch_size,
                seed=run.seed(self.seed),
                progress=progress,
            )
        for (by, _), row in zip(points, rows, strict=True):
            report = with_row(report, by, row)
        return report


def saved(report: Report, file: Path) -> Report:
    """The report, which the main process writes."""
    if runtime.is_main():
        report.save(file)
    return report


def orders(scores: EdgeScores) -> tuple[str, ...]:
    """By what edges are ranked: effects of either sign by both, as MIB does."""
    return ("value", "magnitude") if scores.order == "magnitude" else ("value",)


def missing(report: Report, scores: EdgeScores, sizes: Sequence[int]) -> list[Point]:
    """The points that a report lacks, the smallest circuits first: they take the least time."""
    have = {by: {row.edges for row in report.curves.get(by, ())} for by in orders(scores)}
    return [(by, size) for size in sizes for by in have if size not in have[by]]


def known(report: Report, scores: EdgeScores, sizes: Sequence[int]) -> Report:
    """The report with the points that it can say without a model: all edges, and the order."""
    report = replace(report, order=scores.order)
    for by, size in missing(report, scores, sizes):
        if size == report.n_edges:
            report = with_row(report, by, report.rows["full"])
    return report


def with_row(report: Report, by: str, row: Row) -> Report:
    """The report with one more point of a curve."""
    rows = sorted((*report.curves.get(by, ()), row), key=lambda one: one.edges)
    return replace(report, curves={**report.curves, by: tuple(rows)})


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "curve")
