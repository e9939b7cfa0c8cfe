"""Where the answer's tokens are, BOS or none, and words that can stand for each other."""

import pytest

from edgewise.errors import DataError, TokenizerError
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.words import FEMALE, MALE, NAMES, alike

TEXT = "the cat sat on the mat"


@pytest.mark.parametrize(("bos", "expected"), [(False, (3, 4, 5)), (True, (2, 3, 4, 5))])
def test_bos_goes_first_where_the_tokenizer_puts_it(tokenizers, bos, expected):
    encoder = Encoder.of(tokenizers.word_level(TEXT, bos=bos))
    assert encoder.bos is bos
    assert encoder.ids("the cat sat") == expected


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_bos_can_be_asked_for_or_refused(tokenizers, own, asked):
    encoder = Encoder.of(tokenizers.word_level(TEXT, bos=own), bos=asked)
    assert encoder.ids("the cat") == ((2, 3, 4) if asked else (3, 4))


@pytest.mark.parametrize(("prompt", "answer"), [("the cat", " sat"), ("the cat ", "sat")])
def test_a_tokenizer_that_joins_the_space_by_itself_gives_the_same_word(tokenizers, prompt, answer):
    encoder = Encoder.of(tokenizers.metaspace(TEXT))
    assert encoder.locate(Marked.of(prompt, answer)) == ((2, 3, 4, 5), 3, 4)
    assert encoder.word(" sat") == (5,)


def test_bos_written_out_is_not_doubled(tokenizers):
    encoder = Encoder.of(tokenizers.word_level(TEXT, bos=True))
    assert encoder.ids("<s>the cat") == (2, 3, 4)


def test_the_answer_is_found_by_its_characters(tokenizers):
    encoder = Encoder.of(tokenizers.word_level(TEXT, bos=True))
    found = encoder.locate(Marked.of("the cat", " sat on"))
    assert found == ((2, 3, 4, 5, 6), 3, 5)


@pytest.mark.parametrize(("prompt", "answer"), [("the cat", " sat"), ("the cat ", "sat")])
def test_space_at_the_border_may_be_on_either_side(tokenizers, prompt, answer):
    encoder = Encoder.of(tokenizers.bpe(TEXT))
    ids, first, last = encoder.locate(Marked.of(prompt, answer))
    assert encoder.show(ids[first:last]) == " sat"


@pytest.mark.parametrize("marked", [Marked("the cat sat", 0, 5), Marked("the cat sat", 5, 11)])
def test_a_token_across_the_border_is_refused(tokenizers, marked):
    with pytest.raises(DataError, match="merges ' cat' into one token, across the border"):
        Encoder.of(tokenizers.bpe(TEXT)).locate(marked)


def test_a_single_token_is_had_or_the_tokens_are_shown(tokenizers):
    encoder = Encoder.of(tokenizers.bpe(TEXT))
    assert encoder.show((encoder.single(" mat"),)) == " mat"
    with pytest.raises(TokenizerError, match=r"' mats' to be one token; .* makes 2:  mat\|s"):
        encoder.single(" mats")


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(TokenizerError, match="Slow does not report character offsets"):
        Encoder.of(Slow())


def test_bos_without_such_a_token_is_refused(tokenizers):
    tokenizer = tokenizers.bpe("no such token")
    tokenizer.bos_token = None
    with pytest.raises(TokenizerError, match="the tokenizer has no BOS token"):
        Encoder.of(tokenizer, bos=True)


def test_the_fingerprint_survives_use(tokenizers):
    tokenizer = tokenizers.word_level("used with padding and truncation")
    before = Encoder.of(tokenizer).fingerprint()
    tokenizer(["used", "used with padding"], padding=True, truncation=True, max_length=2)
    assert Encoder.of(tokenizer).fingerprint() == before
    assert Encoder.of(tokenizers.word_level("another")).fingerprint() != before


def test_real_names_are_single_tokens(smollm2):
    (names,) = alike(Encoder.of(smollm2), [NAMES], 6, "names")
    assert len(names) > 150
    assert all(len(smollm2(f" {name}").input_ids) == 1 for name in names)
    assert "Vanessa" in NAMES
    assert "Vanessa" not in names  # two tokens


def test_names_of_one_length_will_do_if_few_are_single(tokenizers):
    # Bytes but for the space: a name has a token a letter, and " X" is its first.
    tokenizer = tokenizers.bpe(" ".join(f" {c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    encoder = Encoder.of(tokenizer)
    (names,) = alike(encoder, [NAMES], 6, "names")
    lengths = {len(encoder.word(f" {name}")) for name in names}
    initials = [name[0] for name in names]
    assert len(lengths) == 1
    assert len(set(initials)) == len(initials) >= 6


def test_lists_share_a_length_and_no_first_token(known_names):
    female, male = alike(Encoder.of(known_names), [FEMALE, MALE], 6, "names")
    assert (female, male) == (FEMALE, MALE)


def test_too_few_names_says_what_was_found_and_what_to_do(tokenizers):
    encoder = Encoder.of(tokenizers.word_level("Mary John Paul Alice"))
    with pytest.raises(TokenizerError, match=r"at least 6 names.*there are 4 of 1 token.*JSONL"):
        alike(encoder, [NAMES], 6, "names")
