"""`edgewise compare`: runs side by side, found already or from a config file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import MaybePath, Switch
from edgewise.cli.output import Output
from edgewise.compare import compare
from edgewise.errors import ConfigError
from edgewise.report import Report


@dataclass(frozen=True)
class Command:
    """Compare runs: circuit sizes, faithfulness, time and memory, and the edges they share.

    With --config, run the methods of a file first; runs that are finished are used as they are.
    """

    runs: Positional[tuple[Path, ...]] = ()  # run folders, or circuit.json files
    config: MaybePath = None  # a .toml file: model, task, sizes, densities, [[methods]]
    out: MaybePath = None  # with --config: the folder that gets a run folder for each method
    json: Switch = False  # print the result as JSON
    quiet: Switch = False  # print the result alone

    def __call__(self) -> None:
        output = Output(self.json, self.quiet)
        runs = self._folders(output)
        circuits = {str(run): Circuit.load(run) for run in runs}
        reports = {str(run): Report.load(run) for run in runs if (run / "report.json").exists()}
        seconds, peaks = (
            {
                run: circuit.provenance[key]
                for run, circuit in circuits.items()
                if circuit.provenance.get(key) is not None
            }
            for key in ("seconds", "peak_bytes")
        )
        found = compare(reports, circuits, seconds, peaks)
        output.result(str(found), found.to_json())

    def _folders(self, output: Output) -> Sequence[Path]:
        """The runs that are named, or those of the config file once they are finished."""
        if self.config is None:
            if self.out is not None:
                raise ConfigError("--out is for the runs of a --config: leave it out")
            if not self.runs:
                raise ConfigError(
                    "nothing to compare: name run folders, or methods in a file, such as\n"
                    "    edgewise compare --config compare.toml --out runs/compare"
                )
            return self.runs
        if self.runs:
            raise ConfigError("--config says what to run: name no folders beside it")
        if self.out is None:
            raise ConfigError("--config needs --out, the folder for its runs")
        from edgewise.cli.methods import search  # loads torch

        return search(self.config, self.out, output)


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "compare")
