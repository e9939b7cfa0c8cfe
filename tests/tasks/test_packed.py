"""Packed examples come back as they went in, and weigh little."""

import tracemalloc

import pytest

from edgewise.tasks import Example
from edgewise.tasks.packed import Packed

EXAMPLES = [
    Example((5, 6, 7), (5, 8, 7), positions=(2,), answers=(9,), distractor=0),
    Example((1, 2, 3, 4, 2**31 - 1), (1, 6, 3, 4, 7), positions=(1, 4), answers=(5, 8)),
    Example((5, 6), (5, 7), positions=(1,), answers=(3,), good=(3, 4), bad=(2,)),
]


@pytest.fixture
def packed():
    packed = Packed()
    for example in EXAMPLES:
        packed.append(example)
    return packed


def test_examples_come_back(packed):
    assert len(packed) == 3
    assert list(packed) == EXAMPLES
    assert packed[-1] == EXAMPLES[2]
    assert packed[::2] == (EXAMPLES[0], EXAMPLES[2])
    with pytest.raises(IndexError):
        packed[3]


def test_a_token_takes_four_bytes():
    packed, length, count = Packed(), 30, 5000  # Python keeps freed tuples of up to 20
    tracemalloc.start()
    for number in range(count):
        ids = tuple(range(number, number + length))
        packed.append(Example(ids, ids, positions=(length - 1,), answers=(number,)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    integers = 2 * length + 1 + 1 + 7  # both prompts, position, answer, seven lengths
    assert held < 1.1 * count * (4 * integers + 8)  # an array grows a sixteenth ahead
