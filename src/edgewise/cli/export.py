"""`edgewise export`: a circuit for another program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import MaybePath, Switch
from edgewise.cli.output import Output
from edgewise.export import Written, export
from edgewise.scores import EdgeScores

NAMES = {
    "eap-ig": "circuit.eap-ig.json",
    "mib": "mib",
    "edge-pruning": "circuit.edge-pruning.json",
    "csv": "circuit.csv",
    "graphml": "circuit.graphml",
    "dot": "circuit.dot",
}


@dataclass(frozen=True)
class Command:
    """Write a run's circuit as a file of another program, with its scores where they fit."""

    run: Positional[Path]  # a run folder, or a circuit.json
    format: Written = "eap-ig"  # mib for a submission to its leaderboard, dot for Graphviz
    out: MaybePath = None  # the file, for mib the folder; by default beside the circuit
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        circuit = Circuit.load(self.run)
        folder = self.run if self.run.is_dir() else self.run.parent
        found = folder / "scores.safetensors"
        scores = EdgeScores.load(found) if self.run.is_dir() and found.exists() else None
        out = export(circuit, self.out or folder / NAMES[self.format], self.format, scores)
        text = f"{out}: {len(circuit):,} edges"
        if self.format == "mib":
            files = sorted(file.name for file in out.iterdir())
            text = f"{out}: {', '.join(files)}"
        Output(self.json).result(
            text, {"file": str(out), "format": self.format, "edges": len(circuit)}
        )


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "export")
