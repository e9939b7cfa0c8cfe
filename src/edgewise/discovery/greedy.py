"""Greedy removal: one decision after another in effect, several measured at a time.

Items are tried in order, and one is removed for good if that raises a value by less than a
threshold. Trial k of a batch assumes a decision about the trials before it: removal, until
something speaks against it. Up to the first assumption that turns out wrong all were right, so
those decisions are the ones that single trials would have come to; the others are measured again,
and what they have shown, on ground that wasn't the true one, is what is assumed next time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Decided:
    """What was removed, in order; how much each item's trial raised the value; its last value."""

    removed: list[int]
    rises: dict[int, float]
    value: float


def decide(
    measure: Callable[[list[list[int]]], list[float]],
    items: Sequence[int],
    value: float,
    threshold: float,
    at_once: int,
) -> Decided:
    """Try `items` in order, `at_once` in one call of `measure`.

    measure    values with each list of items removed
    value      with none removed
    """
    removed: list[int] = []
    rises: dict[int, float] = {}
    kept_once: set[int] = set()  # by what a trial on other ground has shown
    waiting = list(items)
    while waiting:
        batch, ground, trials = waiting[:at_once], removed, []
        assumed = [item not in kept_once for item in batch]
        for item, goes in zip(batch, assumed, strict=True):
            trials.append([*ground, item])
            ground = trials[-1] if goes else ground
        before, right = value, True
        for item, supposed, found in zip(batch, assumed, measure(trials), strict=True):
            goes = found - before < threshold
            if right:
                rises[item] = found - before
                waiting.remove(item)
                if goes:
                    removed, value = [*removed, item], found
                right = goes == supposed
            elif goes:
                kept_once.discard(item)
            else:
                kept_once.add(item)
            before = found if supposed else before
    return Decided(removed, rises, value)
