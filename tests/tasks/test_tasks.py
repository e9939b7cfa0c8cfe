"""What holds for every generated task."""

import json

import pytest

from edgewise import tasks
from edgewise.cli.session import known_of_task

SIZES = {"train": 5, "validation": 3, "test": 4}


@pytest.fixture(scope="module", params=tasks.names())
def task(request, smollm2):
    return tasks.make(request.param, smollm2, **SIZES, seed=7)


def test_it_has_its_name_and_sizes(task):
    assert task.name in tasks.names()
    assert {split: len(found) for split, found in task.splits.items()} == SIZES


def test_the_description_is_json_and_rebuilds_it(task, smollm2):
    saved = json.loads(json.dumps(task.description))
    assert saved["task"] == task.name
    again = tasks.make(task.name, smollm2, **{key: saved[key] for key in (*SIZES, "seed", "bos")})
    assert again.fingerprint() == task.fingerprint()
    assert again.description == task.description


def test_what_is_known_of_it_without_a_tokenizer_is_what_it_records(task, smollm2):
    assert known_of_task(task.name, SIZES, 7).items() <= task.description.items()
    whole = tasks.make(task.name, smollm2)
    assert known_of_task(task.name, dict.fromkeys(SIZES)).items() <= whole.description.items()


def test_another_seed_is_another_task(task, smollm2):
    assert tasks.make(task.name, smollm2, **SIZES, seed=8).fingerprint() != task.fingerprint()


@pytest.mark.parametrize("split", SIZES)
def test_pairs_align_and_differ_and_the_answer_is_not_given_away(task, split):
    for example in task.splits[split]:
        assert len(example.clean) == len(example.corrupted) == example.positions[-1] + 1
        assert example.clean != example.corrupted
        assert example.distractor not in example.answers
        assert not set(example.good) & set(example.bad)


def test_batches_are_weighted_evenly(task):
    for batch in task.batches("train", 2):
        assert batch.weights.sum().item() == pytest.approx(1)
        assert batch.attention_mask[batch.rows, batch.cols].all()
        assert batch.answers[batch.first].tolist() == batch.answers.tolist()


def test_names_are_what_make_takes():
    assert tasks.names() == (
        "ioi",
        "ioi-t1",
        "greater-than",
        "gendered-pronoun",
        "boolean",
        "boolean-instruct",
        "capitals",
        "capitals-few-shot",
        "capitals-instruct",
    )
