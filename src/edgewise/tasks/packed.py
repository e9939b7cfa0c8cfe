"""Examples held as plain integers, four bytes each: a table of any length without its objects.

Seven tuples make an example, each stored as its length and its numbers. An Example of 20 tokens is
some 2 kB of Python objects and 0.2 kB here; it is made anew whenever it is asked for.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Sequence

from edgewise.tasks.example import Example


class Packed(Sequence[Example]):
    """A sequence of examples that grows at its end."""

    def __init__(self) -> None:
        self._numbers = array("i")
        self._starts = array("q")

    def append(self, example: Example) -> None:
        """Adds an example; OverflowError for a token id of 2^31 or more."""
        self._starts.append(len(self._numbers))
        distractor = () if example.distractor is None else (example.distractor,)
        prompts, read_at = (example.clean, example.corrupted), (example.positions, example.answers)
        for part in (*prompts, *read_at, distractor, example.good, example.bad):
            self._numbers.append(len(part))
            self._numbers.extend(part)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        at, parts = self._starts[operator.index(i)], []
        for _ in range(7):
            start, at = at + 1, at + 1 + self._numbers[at]
            parts.append(tuple(self._numbers[start:at]))
        clean, corrupted, positions, answers, distractor, good, bad = parts
        only = distractor[0] if distractor else None
        return Example(clean, corrupted, positions, answers, only, good, bad)
