"""The computed shuffle is a permutation, and splits are stretches of it."""

import pytest

from edgewise.errors import ConfigError, DataError
from edgewise.tasks import Example
from edgewise.tasks.sampling import Shuffle, digits, lazy_splits


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 30, 100, 257, 1000])
def test_a_shuffle_is_a_permutation(total):
    shuffle = Shuffle(total, "key")
    assert sorted(shuffle[i] for i in range(total)) == list(range(total))


def test_a_shuffle_reaches_the_whole_of_a_huge_range():
    total = 10**30
    numbers = [Shuffle(total, "key")[i] for i in range(2000)]
    assert len(set(numbers)) == 2000
    # 2000 uniform draws: the mean is within 5 standard errors, total / sqrt(12 * 2000), of half.
    assert abs(sum(numbers) / 2000 / total - 0.5) < 5 / (12 * 2000) ** 0.5


def test_keys_give_different_shuffles():
    orders = {tuple(Shuffle(100, f"seed {s}")[i] for i in range(100)) for s in range(20)}
    assert len(orders) == 20


def test_digits_count_like_an_odometer():
    assert digits(7, (2, 5)) == (1, 2)
    assert [digits(i, (2, 3)) for i in range(6)] == [(a, b) for a in range(2) for b in range(3)]


def number(i):
    return Example((i,), (i,), (0,), (i,))


def test_splits_are_consecutive_and_only_later_ones_move():
    small = lazy_splits(10, {"test": 3, "train": 2}, number)
    large = lazy_splits(10, {"test": 3, "train": 7}, number)
    assert [e.clean for e in small["test"]] == [(0,), (1,), (2,)]
    assert [e.clean for e in small["train"]] == [(3,), (4,)]
    assert list(large["test"]) == list(small["test"])
    assert list(large["train"])[:2] == list(small["train"])


def test_a_lazy_split_indexes_like_a_tuple():
    split = lazy_splits(10, {"train": 5}, number)["train"]
    assert split[-1] == number(4)
    assert list(split[1:3]) == [number(1), number(2)]
    with pytest.raises(IndexError):
        split[5]


def test_more_than_there_are_is_refused():
    with pytest.raises(DataError, match=r"8 test \+ 3 train prompts, but only 10 different"):
        lazy_splits(10, {"test": 8, "train": 3}, number)


def test_a_negative_size_is_refused():
    with pytest.raises(ConfigError, match="train=-1"):
        lazy_splits(10, {"train": -1}, number)
