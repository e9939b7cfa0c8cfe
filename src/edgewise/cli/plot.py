"""`edgewise plot`: figures for papers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import Switch
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.figures import plot
from edgewise.picture import picture
from edgewise.report import Report
from edgewise.scores import EdgeScores

METRICS = ("kl", "exact_match")


@dataclass(frozen=True)
class Command:
    """Draw faithfulness against density for several runs, or one circuit, as PDF, SVG or PNG."""

    runs: Positional[tuple[Path, ...]]  # run folders; with --circuit one, or a circuit.json
    out: Path  # the figure; its suffix says the format: .pdf, .svg or .png
    metrics: tuple[str, ...] = METRICS  # a panel each, by their names in report.json
    circuit: Switch = False  # draw the circuit itself: layers, components, edges
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        if not self.runs:
            raise ConfigError("nothing to plot: name one run folder or more")
        self._draw_circuit() if self.circuit else self._draw_metrics()
        found = {"file": str(self.out), "runs": [str(run) for run in self.runs]}
        Output(self.json).result(str(self.out), found)

    def _draw_metrics(self) -> None:
        reports = [Report.load(run) for run in self.runs]
        plot(dict(zip(labels(self.runs), reports, strict=True)), self.out, self.metrics)

    def _draw_circuit(self) -> None:
        if len(self.runs) > 1:
            raise ConfigError(f"--circuit draws one circuit, and {len(self.runs)} runs are named")
        if self.metrics != METRICS:
            raise ConfigError("--metrics are for figures of runs: leave them out with --circuit")
        (run,) = self.runs
        scored = (run / "scores.safetensors").exists()
        picture(Circuit.load(run), self.out, EdgeScores.load(run) if scored else None)


def labels(runs: Sequence[Path]) -> list[str]:
    """The folders' own names if they tell them apart, else their paths."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "plot")
