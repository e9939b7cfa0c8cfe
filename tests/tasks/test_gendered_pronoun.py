"""Gendered pronouns: the name decides, and nothing else changes."""

import pytest

from edgewise import tasks
from edgewise.errors import TokenizerError
from edgewise.tasks.gendered_pronoun import FRAMES
from edgewise.tasks.words import FEMALE, MALE

SPLITS = ("train", "validation", "test")


def test_there_are_thirty_frames_of_one_name():
    assert len(set(FRAMES)) == 30
    assert all(frame.startswith("So {} ") and frame.count("{") == 1 for frame in FRAMES)
    assert {frame.split()[-1] for frame in FRAMES} == {"isn't", "is", "can't", "doesn't"}


def test_a_name_has_one_gender():
    assert not set(FEMALE) & set(MALE)
    assert len(set(FEMALE + MALE)) == len(FEMALE) + len(MALE)


def test_the_pronoun_is_the_name_s_and_only_the_name_is_corrupted(smollm2):
    task = tasks.gendered_pronoun(smollm2, 60, 60, 60)
    for example in (example for split in SPLITS for example in task.splits[split]):
        pairs = zip(example.clean, example.corrupted, strict=True)
        assert [i for i, (one, other) in enumerate(pairs) if one != other] == [1]
        name, other = (smollm2.decode([e[1]])[1:] for e in (example.clean, example.corrupted))
        assert (name in FEMALE) != (other in FEMALE)
        expected = (" she", " he") if name in FEMALE else (" he", " she")
        assert (smollm2.decode(example.answers), smollm2.decode([example.distractor])) == expected


def test_no_prompt_comes_twice(smollm2):
    task = tasks.gendered_pronoun(smollm2, 150, 150, 378)
    prompts = [example.clean for split in SPLITS for example in task.splits[split]]
    assert len(set(prompts)) == 678


def test_pronouns_must_be_single_tokens(tokenizers):
    with pytest.raises(TokenizerError, match="needs ' she' to be one token"):
        tasks.gendered_pronoun(tokenizers.bpe(" he"))


def test_names_of_both_genders_are_needed(tokenizers):
    tokenizer = tokenizers.word_level("he she " + " ".join(FEMALE))
    with pytest.raises(TokenizerError, match="first names of either gender"):
        tasks.gendered_pronoun(tokenizer)
