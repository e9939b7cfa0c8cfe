"""`edgewise compare`: runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import Switch
from edgewise.cli.output import Output
from edgewise.compare import compare
from edgewise.report import Report


@dataclass(frozen=True)
class Command:
    """Compare runs: circuit sizes, faithfulness, search time, and the edges they share."""

    runs: Positional[tuple[Path, ...]]  # run folders, or circuit.json files
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        circuits = {str(run): Circuit.load(run) for run in self.runs}
        reports = {
            str(run): Report.load(run) for run in self.runs if (run / "report.json").exists()
        }
        seconds = {
            run: circuit.provenance["seconds"]
            for run, circuit in circuits.items()
            if "seconds" in circuit.provenance
        }
        found = compare(reports, circuits, seconds)
        Output(self.json).result(str(found), found.to_json())


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "compare")
