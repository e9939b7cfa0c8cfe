"""Greater-than: right and wrong are counted from the year that the prompt shows."""

import re
from itertools import product

import pytest

from edgewise import tasks
from edgewise.errors import DataError, TokenizerError
from edgewise.tasks.encoder import Encoder
from edgewise.tasks.greater_than import FRAMES, NOUNS, Writing

SPLITS = ("train", "validation", "test")
YEARS = " ".join(f"{c}{y:02d}" for c, y in product(range(10, 100), range(100)))
PAIRS = r" ?\d{2}"
PROMPT = re.compile(r"The (\w+) .* (\d\d)(\d\d) (?:to|and) (\d\d)")


@pytest.fixture(scope="module")
def by_pairs(tokenizers):
    return tokenizers.bpe(YEARS, number=PAIRS)


def test_two_digits_a_token_ask_for_the_last_two(by_pairs):
    task = tasks.greater_than(by_pairs, 40, 40, 40)
    assert task.description["digits_per_token"] == 2
    assert [by_pairs.decode([i]) for i in task.token_set] == [f"{y:02d}" for y in range(100)]
    for example in (example for split in SPLITS for example in task.splits[split]):
        _, century, year, again = PROMPT.fullmatch(by_pairs.decode(example.clean)).groups()
        year = int(year)
        assert century == again
        assert example.good == task.token_set[year + 1 :]
        assert example.bad == tuple(reversed(task.token_set[:year]))
        assert example.answers == (task.token_set[year + 1],)
        assert 0 < year < 99


def test_one_digit_a_token_asks_for_the_tens(smollm2):
    task = tasks.greater_than(smollm2, 40, 40, 40)
    assert task.description["digits_per_token"] == 1
    assert [smollm2.decode([i]) for i in task.token_set] == list("0123456789")
    for example in (example for split in SPLITS for example in task.splits[split]):
        _, century, year, again = PROMPT.fullmatch(smollm2.decode(example.clean)).groups()
        tens = int(year[0])
        assert century == again
        assert smollm2.decode(example.good) == "0123456789"[tens + 1 :]
        assert smollm2.decode(example.bad) == "9876543210"[10 - tens :]
        assert example.answers == (task.token_set[tens + 1],)
        assert 0 < tens < 9


def test_a_digit_of_1734(smollm2):
    """By hand: after "1734 to 17" 4-9 are surely later, 0-2 surely earlier, 3 is open."""
    task = tasks.greater_than(smollm2, 400, 0, 0)
    example = next(e for e in task.splits["train"] if smollm2.decode(e.clean[-8:-5]) == "173")
    assert smollm2.decode(example.good) == "456789"
    assert smollm2.decode(example.bad) == "210"


def test_only_the_numbers_are_corrupted_and_the_value_changes(by_pairs, smollm2):
    for tokenizer, width in ((by_pairs, 2), (smollm2, 1)):
        task = tasks.greater_than(tokenizer, 60, 0, 0)
        for example in task.splits["train"]:
            texts = [tokenizer.decode(ids) for ids in (example.clean, example.corrupted)]
            clean, corrupted = (PROMPT.fullmatch(text).groups() for text in texts)
            assert clean[0] == corrupted[0]
            assert clean[2][:width] != corrupted[2][:width]
            assert corrupted[1] == corrupted[3]
            assert len({re.sub(r"\d", "#", text) for text in texts}) == 1


def test_the_years_of_the_splits_are_disjoint(by_pairs):
    task = tasks.greater_than(by_pairs, 200, 100, 100)
    years = {
        split: {PROMPT.fullmatch(by_pairs.decode(e.clean))[3] for e in task.splits[split]}
        for split in SPLITS
    }
    assert sum(map(len, years.values())) == len(set.union(*years.values()))


def test_no_prompt_comes_twice(by_pairs):
    task = tasks.greater_than(by_pairs, 200, 200, 200)
    prompts = [example.clean for split in SPLITS for example in task.splits[split]]
    assert len(set(prompts)) == 600


def test_a_year_that_is_one_token_is_neither_shown_nor_expected(tokenizers):
    merged = tokenizers.bpe(YEARS, number=rf" 1835|{PAIRS}")
    years = Writing.of(Encoder.of(merged)).years
    assert (18, 34, 36) in years
    assert (17, 34, 35) in years
    assert not [year for year in years if year[:2] == (18, 35)]


def test_seeds_differ_and_growing_training_leaves_the_rest(by_pairs):
    first, other = (tasks.greater_than(by_pairs, 10, 10, 10, seed=s) for s in (0, 1))
    assert first.fingerprint() != other.fingerprint()
    large = tasks.greater_than(by_pairs, 80_000, 10, 10, seed=0)
    assert list(large.splits["test"]) == list(first.splits["test"])
    assert list(large.splits["train"][:10]) == list(first.splits["train"])


def test_words_are_written_once():
    assert len(set(NOUNS)) == len(NOUNS) > 90
    assert len(set(FRAMES)) == 6


def test_other_ways_to_write_years_are_refused(tokenizers):
    by_threes = tokenizers.bpe(YEARS, number=r"\d{1,3}")
    with pytest.raises(TokenizerError, match=r"the tokenizer writes 1734 as  \|173\|4"):
        tasks.greater_than(by_threes)


def test_more_prompts_than_there_are_is_refused(by_pairs):
    with pytest.raises(DataError, match="asked for 10,000,000 train prompts"):
        tasks.greater_than(by_pairs, train=10_000_000)
