"""`edgewise view`: a circuit as a web page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import MaybePath, Switch
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.page import view

MaybeOther = Annotated[Positional[Path | None], arg(metavar="[PATH]", help_behavior_hint="")]


@dataclass(frozen=True)
class Command:
    """Write a run's circuit as one HTML file that needs no network: open it in a browser."""

    run: Positional[Path]  # a run folder, or a circuit.json
    other: MaybeOther = None  # a second one, to see what differs
    out: MaybePath = None  # the file; by default circuit.html or difference.html in the run folder
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        if self.out is not None and self.out.suffix not in ("", ".html") and not self.out.is_dir():
            raise ConfigError(
                f"--out {self.out}: a page's file must end in .html; a folder gets a circuit.html"
            )
        circuit = Circuit.load(self.run)
        folder = self.run if self.run.is_dir() else self.run.parent
        out = self.out or folder / ("circuit.html" if self.other is None else "difference.html")
        run = self.run if self.run.is_dir() else None  # whose scores, report, ... `view` reads
        other = None if self.other is None else Circuit.load(self.other)
        file = view(circuit, out, run=run, other=other)
        Output(self.json).result(
            f"{file}: {len(circuit):,} edges; open it in a browser",
            {"file": str(file), "edges": len(circuit)},
        )


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "view")
