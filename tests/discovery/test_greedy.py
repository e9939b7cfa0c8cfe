"""Decisions that are measured together, against the loop that measures one at a time."""

import numpy as np
import pytest

from edgewise.discovery.greedy import decide

ITEMS = 12


def values(seed: int) -> np.ndarray:
    """A value for every set of items: anything at all, so decisions depend on each other."""
    return np.random.default_rng(seed).normal(size=2**ITEMS)


class Counted:
    """Looks up the value of sets, and counts calls and sets."""

    def __init__(self, table: np.ndarray):
        self.table, self.calls, self.sets = table, 0, 0

    def __call__(self, sets: list[list[int]]) -> list[float]:
        self.calls, self.sets = self.calls + 1, self.sets + len(sets)
        return [float(self.table[sum(1 << item for item in items)]) for items in sets]


@pytest.mark.parametrize("at_once", [1, 2, 5, 12, 100])
def test_decisions_are_the_loop_s(at_once):
    for seed in range(40):
        table, order = values(seed), np.random.default_rng(seed).permutation(ITEMS).tolist()
        removed, rises, value = [], {}, table[0]
        for item in order:
            (found,) = Counted(table)([[*removed, item]])
            rises[item] = found - value
            if rises[item] < 0.3:
                removed, value = [*removed, item], found
        found = decide(Counted(table), order, table[0], 0.3, at_once)
        assert (found.removed, found.rises, found.value) == (removed, rises, value)
        assert list(found.rises) == order


def test_where_each_effect_is_its_own_two_rounds_show_all():
    """A batch ends at the first item that stays; the next assumes what it has shown of the rest."""
    effects = [0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0]
    sums = [sum(e for i, e in enumerate(effects) if s >> i & 1) for s in range(2**ITEMS)]
    measure = Counted(np.array(sums, float))
    found = decide(measure, range(ITEMS), 0.0, 0.5, 6)
    assert found.removed == [i for i, effect in enumerate(effects) if not effect]
    # 0-2 are decided and 3-5 shown; 3-8 are decided in the second call; 9, 10 and 11 are left.
    assert (measure.calls, measure.sets) == (4, 6 + 6 + 3 + 1)


def test_a_rise_of_exactly_the_threshold_keeps():
    found = decide(Counted(np.array([0.0, 0.5])), [0], 0.0, 0.5, 4)
    assert (found.removed, found.rises, found.value) == ([], {0: 0.5}, 0.0)


def test_no_items():
    found = decide(Counted(values(0)), [], 0.25, 0.5, 4)
    assert (found.removed, found.rises, found.value) == ([], {}, 0.25)
