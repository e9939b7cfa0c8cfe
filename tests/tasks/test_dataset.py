"""Hugging Face datasets as tasks: a stand-in that has only what is relied on, and real ones."""

import importlib.util

import pytest

from edgewise.errors import DataError
from edgewise.tasks import Task

TEXT = "The capital of France is Paris Spain Madrid Lyon"
ROWS = [
    {
        "clean": "The capital of France is<predict> Paris</predict>",
        "corrupted": "The capital of Spain is<predict> Madrid</predict>",
        "distractor": " Lyon",
    },
    {
        "clean": "The capital of Spain is<predict> Madrid</predict>",
        "corrupted": "The capital of France is<predict> Paris</predict>",
        "distractor": None,  # a column has a value in every row
    },
]


class Table:
    """Rows as mappings when iterated over, once: what a streamed dataset offers."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def __iter__(self):
        return self.rows


class Tables(dict):
    """A `DatasetDict` is a dict."""


@pytest.fixture(scope="module")
def tokenizer(tokenizers):
    return tokenizers.word_level(TEXT)


def same_rows(task, rows, tokenizer):
    """Whether a task's splits hold what `from_pairs` makes of the rows."""
    assert task.fingerprint() == Task.from_pairs(rows, tokenizer).fingerprint()
    return True


def test_a_column_called_split_says_which(tokenizer):
    rows = [row | {"split": split} for row, split in zip(ROWS, ("train", "test"), strict=True)]
    task = Task.from_dataset(Table(rows), tokenizer, name="mine")
    assert {split: len(found) for split, found in task.splits.items()} == {"train": 1, "test": 1}
    assert task.name == "mine"
    assert task.description["rows"] == {"train": 1, "test": 1}
    assert same_rows(task, rows, tokenizer)


def test_without_splits_all_rows_serve_everywhere_with_a_warning(tokenizer):
    rows = [row | {"split": None} for row in ROWS]
    with pytest.warns(UserWarning, match="all 2 are used"):
        task = Task.from_dataset(Table(rows), tokenizer)
    assert [len(task.splits[split]) for split in ("train", "validation", "test")] == [2, 2, 2]


def test_the_splits_of_a_dictionary_are_the_tasks(tokenizer):
    tables = Tables(test=Table(ROWS), train=Table(ROWS[:1]))
    task = Task.from_dataset(tables, tokenizer)
    rows = [ROWS[0] | {"split": "train"}, *(row | {"split": "test"} for row in ROWS)]
    assert same_rows(task, rows, tokenizer)


def test_columns_of_its_own_are_ignored_with_one_warning(tokenizer):
    rows = [row | {"split": "test"} for row in ROWS]
    with pytest.warns(UserWarning, match=r"^dataset: ignored id, source; the") as warned:
        task = Task.from_dataset(Table(row | {"id": 1, "source": "x"} for row in rows), tokenizer)
    assert len(warned) == 1
    assert same_rows(task, rows, tokenizer)


def test_other_names_of_splits_are_refused(tokenizer):
    with pytest.raises(DataError, match=r"has a split dev, extra; there can be train, validation"):
        Task.from_dataset(Tables(train=ROWS, dev=ROWS, extra=[]), tokenizer)


def test_a_bad_row_is_named_by_its_split_and_number(tokenizer):
    bad = {"question": "?", "answer": "!"}
    said = r'^train, row 2: "clean" is missing \(there are: question, answer, split\)'
    with pytest.raises(DataError, match=said):
        Task.from_dataset(Tables(train=[ROWS[0], bad]), tokenizer)
    with pytest.raises(DataError, match=r"^row 1: 's' is a str; a row is a mapping"):
        Task.from_dataset("squad", tokenizer)


@pytest.mark.parametrize("empty", [[], {}, {"train": [], "test": []}])
def test_no_rows_are_refused(tokenizer, empty):
    with pytest.raises(DataError, match=r"^mine: no rows"):
        Task.from_dataset(empty, tokenizer, name="mine")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="no datasets package")
def test_the_real_ones(tokenizer):
    from datasets import Dataset, DatasetDict

    table = Dataset.from_list(ROWS)
    task = Task.from_dataset(DatasetDict(train=table, test=table), tokenizer)
    rows = [row | {"split": split} for split in ("train", "test") for row in ROWS]
    assert same_rows(task, rows, tokenizer)
    streamed = Dataset.from_list(rows).to_iterable_dataset()
    assert same_rows(Task.from_dataset(streamed, tokenizer), rows, tokenizer)
