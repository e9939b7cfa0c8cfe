"""A search that takes edges one after another: its records, its checkpoints and its clock.

A record's step is how many edges have been tried. Each is followed by a checkpoint, so a killed
search goes on with the reader it was at.
"""

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from edgewise.discovery.found import Search


class Journal:
    """What a search of `steps` trials has written so far, interruptions left out of its seconds."""

    def __init__(self, search: Search, phase: str, steps: int):
        self.search, self.phase, self.steps = search, phase, steps
        self.history: list[Mapping[str, Any]] = []
        self.earlier, self.began = 0.0, time.monotonic()

    def restore(self) -> tuple[int, Mapping[str, Tensor], Mapping[str, Any]] | None:
        """Step, tensors and record of the last checkpoint; records after it are dropped."""
        folder = self.search.folder
        if folder is None:
            return None
        saved = folder.load_checkpoint()
        folder.truncate(0 if saved is None else saved[0] + 1)
        if saved is not None:
            self.history, self.earlier = folder.records(), float(saved[2]["seconds"])
        return saved

    @property
    def seconds(self) -> float:
        """Spent so far, interruptions left out."""
        return self.earlier + time.monotonic() - self.began

    def write(self, step: int, tensors: Mapping[str, Tensor], **record: float | int) -> None:
        """Report a record, and save what going on from it takes."""
        seconds = self.seconds
        whole = {"step": step, **record, "seconds": seconds}
        self.history.append(whole)
        self.search.report(
            whole,
            phase=self.phase,
            steps=self.steps,
            steps_per_second=step / max(seconds, 1e-9),
            seconds_left=seconds / step * (self.steps - step),
        )
        if self.search.folder is not None:
            self.search.folder.save_checkpoint(step, tensors, whole)
