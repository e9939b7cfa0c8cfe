"""What a command says: its result on stdout, how it gets there on stderr.

With --json the result is one JSON object and stdout holds nothing else.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

EVERY = 5.0  # seconds between lines where there is no terminal

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Output:
    """json: the result for a program. quiet: the result alone. mute: not even that."""

    json: bool = False
    quiet: bool = False
    mute: bool = False

    def say(self, text: str) -> None:
        """What is going on, for a person."""
        if not (self.quiet or self.mute):
            print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def warn(self, text: str) -> None:
        """What a person should know of before it is too late."""
        if not (self.quiet or self.mute):
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def result(self, text: str, data: Mapping[str, Any]) -> None:
        """What the command was called for: `data` with --json, else `text`."""
        if not self.mute:
            print(json.dumps(data, allow_nan=False) if self.json else text, flush=True)

    @contextmanager
    def progress(self, what: str | None = None) -> Iterator[Progress | None]:
        """A bar on a terminal, a line now and then elsewhere, None if quiet.

        The function takes records of a search, or any with "step" (how many are done) and "steps".
        `what` is the word for it; without one their "phase" is.
        """
        if self.quiet or self.mute:
            yield None
        elif sys.stderr.isatty():
            with _bar(what) as update:
                yield update
        else:
            yield _Lines(what)


def describe(record: Mapping[str, Any]) -> str:
    """ "loss 0.31  KL 0.25  density 2.1% (to 2%)  1.9 steps/s  0:42 left", as far as known."""
    words = []
    if "loss" in record:
        words.append(f"loss {record['loss']:z.3f}")
    if "kl" in record:
        words.append(f"KL {record['kl']:z.3f}")
    if "density" in record:
        target = f" (to {record['target']:.2%})" if "target" in record else ""
        words.append(f"density {record['density']:.2%}{target}")
    if speed := record.get("steps_per_second"):
        words.append(f"{_two(speed)} steps/s" if speed >= 0.5 else f"{_two(1 / speed)} s/step")
    if record.get("seconds_left") is not None:
        minutes, seconds = divmod(round(record["seconds_left"]), 60)
        words.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(words)


def _two(number: float) -> str:
    """Two digits, or more of a large number."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


class _Lines:
    def __init__(self, what: str | None) -> None:
        self.what, self.last = what, monotonic()

    def __call__(self, record: Mapping[str, Any]) -> None:
        done = record["step"]
        if monotonic() - self.last >= EVERY or done == record["steps"]:
            self.last = monotonic()
            line = f"{self.what or record['phase']} {done}/{record['steps']}  {describe(record)}"
            print(line.rstrip(), file=sys.stderr, flush=True)


@contextmanager
def _bar(what: str | None) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what or "beginning", total=None, text="")

        def update(record: Mapping[str, Any]) -> None:
            shown.update(
                task,
                description=what or record["phase"],
                completed=record["step"],
                total=record["steps"],
                text=describe(record),
            )

        yield update
