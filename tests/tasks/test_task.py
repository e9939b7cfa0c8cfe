"""Batches, splits and fingerprints, worked out by hand."""

from functools import partial

import pytest
import torch

from edgewise.errors import ConfigError, DataError
from edgewise.tasks import Example, Task
from edgewise.tasks.sampling import Lazy
from edgewise.tasks.task import SAMPLED
from unchecked import unchecked

# Three tokens, one answer; and five tokens, two answers.
SHORT = Example((5, 6, 7), (5, 8, 7), positions=(2,), answers=(9,), distractor=4)
LONG = Example((1, 2, 3, 4, 5), (1, 6, 3, 4, 7), positions=(3, 4), answers=(5, 8))
RANKED = Example((5, 6), (5, 7), positions=(1,), answers=(3,), good=(3, 4), bad=(2,))


@pytest.fixture
def task():
    splits = {"train": (SHORT, LONG, RANKED), "validation": (LONG,), "test": ()}
    return Task("toy", splits, pad_id=0)


def test_a_batch_is_padded_on_the_right_and_read_at_its_positions(task):
    batch = task.batch("train", [0, 1])
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0], [1, 2, 3, 4, 5]]
    assert batch.counterfactual_ids.tolist() == [[5, 8, 7, 0, 0], [1, 6, 3, 4, 7]]
    assert batch.attention_mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert batch.rows.tolist() == [0, 1, 1]
    assert batch.cols.tolist() == [2, 3, 4]
    assert batch.answers.tolist() == [9, 5, 8]
    assert batch.first.tolist() == [0, 1]
    assert batch.distractors.tolist() == [4, -1]
    assert batch.weights.tolist() == [0.5, 0.25, 0.25]
    assert batch.token_set is None
    assert len(batch) == 2


@pytest.mark.parametrize("indices", [[0], [1], [0, 1], [1, 1, 0], [2, 0, 1]])
def test_weights_sum_to_one(task, indices):
    assert task.batch("train", indices).weights.sum().item() == pytest.approx(1)


def test_answer_sets_stay_with_their_prompt(task):
    batch = task.batch("train", [2, 0])
    assert batch.good == ((3, 4), ())
    assert batch.bad == ((2,), ())


def test_batches_cover_the_split_in_order(task):
    sizes = [len(batch) for batch in task.batches("train", 2)]
    assert sizes == [2, 1]
    answers = torch.cat([batch.answers for batch in task.batches("train", 2)])
    assert answers.tolist() == [9, 5, 8, 3]


def test_a_token_set_reaches_the_batch():
    task = Task("toy", {"train": (SHORT,)}, pad_id=0, token_set=(4, 9))
    assert task.batch("train", [0]).token_set.tolist() == [4, 9]


def test_a_batch_moves_to_a_device(task):
    batch = task.batch("train", [0, 1]).to("meta")
    assert batch.input_ids.device.type == batch.weights.device.type == "meta"
    assert batch.token_set is None
    assert batch.good == ((), ())


def test_the_fingerprint_is_of_the_content(task):
    same = Task("other name", dict(task.splits), pad_id=3)
    assert same.fingerprint() == task.fingerprint()
    moved = Task("toy", {"train": (SHORT, LONG), "validation": (RANKED, LONG)}, pad_id=0)
    restricted = Task("toy", task.splits, pad_id=0, token_set=(1,))
    assert len({task.fingerprint(), moved.fingerprint(), restricted.fingerprint()}) == 3


def test_a_split_made_on_demand_has_the_fingerprint_of_its_examples():
    """Of a large one a sample is read, and its length."""
    made = []

    def number(i, changed=None):
        made.append(i)
        return Example((i, i), (i, 0), (1,), (7 if i == changed else 5,))

    def task(split):
        return Task("toy", {"train": split}, pad_id=0)

    small = task(Lazy(range(9), number))
    assert small.fingerprint() == task(tuple(map(number, range(9)))).fingerprint()
    large = task(Lazy(range(10**9), number))
    made.clear()
    assert large.fingerprint() == task(Lazy(range(10**9), number)).fingerprint()
    # the run-time type checker looks at an item of a sequence now and then
    assert SAMPLED <= len(set(made)) < SAMPLED + 10
    assert max(made) > 0.99 * 10**9
    others = [
        task(Lazy(range(10**9 - 1), number)),
        task(Lazy(range(10**9), partial(number, changed=0))),
    ]
    assert len({one.fingerprint() for one in (large, small, *others)}) == 4


def test_an_empty_split_names_those_there_are(task):
    with pytest.raises(DataError, match=r"split 'test' is empty.*train \(3\), validation \(1\)"):
        task.batches("test", 2)


def test_an_unknown_split_names_those_there_are(task):
    with pytest.raises(DataError, match=r"split 'dev' does not exist.*train \(3\)"):
        task.batch("dev", [0])


def test_a_split_that_no_row_is_in_says_how_to_have_it(task):
    alone = Task("rows", {"train": task.splits["train"]}, pad_id=0)
    said = (
        r"'test' does not exist; there are: train \(3\)\. .* give rows \"split\": \"test\", as on"
    )
    with pytest.raises(DataError, match=said):
        alone.examples("test")


def test_a_line_at_a_prompt(task):
    """For which no example of a generated split is made."""
    assert repr(task) == "<Task toy: 3 train, 1 validation, 0 test prompts>"
    lazy = Lazy(range(1200), lambda i: pytest.fail("made an example"))
    with unchecked():  # the check of a split's type looks at an example
        assert repr(Task("ioi", {"train": lazy}, pad_id=0)) == "<Task ioi: 1,200 train prompts>"
    assert repr(Task("none", {}, pad_id=0)) == "<Task none: no prompts>"


def test_a_batch_holds_something(task):
    with pytest.raises(DataError, match="at least one index"):
        task.batch("train", [])
    with pytest.raises(ConfigError, match="batch size 0"):
        task.batches("train", 0)
