"""Training batches: every prompt once an epoch, and as little held for 100,000 as for 200."""

import gc
import tracemalloc
import weakref
from itertools import pairwise

import numpy as np
import pytest

import tiny
import toy
from edgewise.discovery import EdgePruning, discover
from edgewise.discovery.batches import Batches
from edgewise.discovery.found import Search
from edgewise.tasks import Task
from edgewise.tasks.sampling import Lazy


def generated(count: int) -> Task:
    """A toy task whose prompts are made when they are asked for, all of them six tokens long."""
    splits = {"train": Lazy(range(count), lambda i: toy.example(i % 50, answers=1))}
    return Task("toy", splits, pad_id=0, description={"task": "toy"})


def batches(task: Task, size: int, memory: float = 0.0, steps: int = 100, seed: int = 3) -> Batches:
    search = Search(tiny.model("gpt2"), task, "interchange", None, seed, None, None)
    return Batches(search, size, memory, steps)


@pytest.mark.parametrize(("count", "size"), [(11, 4), (12, 4), (1, 4), (7, 7), (8, 3)])
def test_the_cut_is_even_and_leaves_nothing_out(count, size):
    cut = batches(toy.task(count), size)
    order = np.random.default_rng(3).permutation(count)
    expected = np.array_split(order, -(-count // size))
    found = [cut.prompts(number) for number in range(cut.n_batches)]
    assert found == [part.tolist() for part in expected]
    assert sorted(i for part in found for i in part) == list(range(count))


def test_every_epoch_takes_every_prompt_once():
    cut = batches(toy.task(11, longest=4), 4)
    assert cut.n_batches == 3
    epochs = []
    for epoch in range(3):
        pieces = [cut.at(3 * epoch + i) for i in range(3)]
        epochs.append([piece.batch.input_ids.tolist() for (piece,) in pieces])
        assert sorted(map(len, epochs[-1])) == [3, 4, 4]
    assert all(sorted(a) == sorted(b) for a, b in pairwise(epochs))
    assert len({str(epoch) for epoch in epochs}) > 1  # not always in the same order


def test_what_is_kept_changes_no_bit():
    given = {"density": 0.3, "steps": 4, "batch_size": 2, "precision": "model"}
    kept, made = (
        discover(tiny.model("gpt2"), toy.task(6), EdgePruning(**given, cache_gb=size)).scores
        for size in (2.0, 0.0)
    )
    np.testing.assert_array_equal(kept.values, made.values)


@pytest.mark.parametrize(("count", "steps"), [(64, 7), (64, 8), (64, 3), (48, 100), (800, 70)])
def test_a_batch_is_kept_while_it_comes_again(count, steps):
    """Of those that come twice or more, as many as fit; and in the end none."""
    (piece,) = batches(generated(16), 16).at(0)
    room = 3
    cut = batches(generated(count), 16, memory=(room + 0.6) * piece.n_bytes, steps=steps)
    n = cut.n_batches
    numbers = [int(cut._epoch(step // n)[step % n]) for step in range(steps)]
    expected: set[int] = set()
    for step, number in enumerate(numbers):
        list(cut.at(step))
        later = number in numbers[step + 1 :]
        if later and len(expected) < room:
            expected.add(number)
        elif not later:
            expected.discard(number)
        assert {one for one, _ in cut.kept} == expected
    assert not expected


def test_a_hundred_thousand_prompts_hold_no_more_than_their_order():
    def held(count: int) -> int:
        tracemalloc.start()
        cut = batches(generated(count), 16)
        cut.search.task.fingerprint()
        for step in (0, 1, cut.n_batches, 10**6):
            list(cut.at(step))
        gc.collect()
        # The checker of types under test notes each function it has seen, also those that calls
        # define, in a dictionary of weak references, which grows in one go whenever it is full.
        checkers = tracemalloc.Filter(False, weakref.__file__)
        found = tracemalloc.take_snapshot().filter_traces([checkers])
        tracemalloc.stop()
        return sum(trace.size for trace in found.traces)

    held(200)  # what is made once
    numbers = 100_000 + 100_000 / 16  # the order, and when each batch comes last
    assert held(100_000) < held(200) + 4 * numbers + 20_000  # bytes
