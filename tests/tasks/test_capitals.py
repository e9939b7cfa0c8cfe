"""Capitals: the right city, another country's as distractor, and disjoint splits."""

import re

import pytest

from edgewise import tasks
from edgewise.errors import TokenizerError
from edgewise.tasks.capitals import CAPITALS, SHOTS

SPLITS = ("train", "validation", "test")
ASKED = {
    "capitals": r"The capital of ([\w ]+) is",
    "capitals-few-shot": r"(?:The capital of \w+ is \w+\.\n){3}The capital of ([\w ]+) is",
    "capitals-instruct": r"(?s:.*)the capital of ([\w ]+)\?(?s:.*)assistant\nThe capital is",
}


@pytest.mark.parametrize("name", ASKED)
def test_the_answer_is_the_country_s_capital(smollm2, name):
    task = tasks.make(name, smollm2, train=40, validation=20, test=20)
    asked = {split: set() for split in SPLITS}
    for split, example in ((part, e) for part in SPLITS for e in task.splits[part]):
        texts = (smollm2.decode(ids) for ids in (example.clean, example.corrupted))
        country, other = (re.fullmatch(ASKED[name], text)[1] for text in texts)
        assert smollm2.decode(example.answers) == f" {CAPITALS[country]}"
        assert smollm2.decode([example.distractor]) == f" {CAPITALS[other]}"
        asked[split].add(country)
    everywhere = set.union(*asked.values())
    assert sum(map(len, asked.values())) == len(everywhere)
    assert everywhere.isdisjoint(SHOTS)


def test_no_pair_comes_twice(smollm2):
    task = tasks.capitals(smollm2)
    pairs = [(e.clean, e.corrupted) for split in SPLITS for e in task.splits[split]]
    assert len(set(pairs)) == len(pairs) == 250


def test_capitals_of_several_tokens_are_known_by_the_first(tokenizers):
    # A capital letter with its space is one token, each other letter another.
    tokenizer = tokenizers.bpe(" ".join(f" {c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    task = tasks.capitals(tokenizer, 4, 1, 1)
    for example in task.splits["train"]:
        country = tokenizer.decode(example.clean).removeprefix("The capital of ")[: -len(" is")]
        assert tokenizer.decode(example.answers) == f" {CAPITALS[country][0]}"
        assert example.positions == (len(example.clean) - 1,)
        assert example.distractor != example.answers[0]


def test_a_chat_template_is_needed_to_ask_an_assistant(tokenizers):
    with pytest.raises(TokenizerError, match="or the task 'capitals'"):
        tasks.capitals_instruct(tokenizers.word_level("no template"))


def test_too_few_countries_are_refused(tokenizers):
    tokenizer = tokenizers.word_level("The capital of France is Paris Spain Madrid Norway Oslo")
    with pytest.raises(TokenizerError, match=r"at least 8 countries.*there are 3"):
        tasks.capitals(tokenizer)
