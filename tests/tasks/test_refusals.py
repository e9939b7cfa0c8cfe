"""What every generated task refuses before there is an example: the table of task x mistake."""

from types import SimpleNamespace

import pytest

from edgewise import tasks
from edgewise.errors import ConfigError, DataError, TokenizerError

every_task = pytest.mark.parametrize("name", tasks.names())

CHAT = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"


class Slow:
    """A tokenizer in Python has no offsets."""

    is_fast = False
    bos_token_id = None


@every_task
def test_a_tokenizer_that_knows_none_of_its_words(name, tokenizers):
    tokenizer = tokenizers.word_level(f"nothing of use for {name}")
    tokenizer.chat_template = CHAT
    with pytest.raises(TokenizerError, match=r"this task needs|greater-than needs") as error:
        tasks.make(name, tokenizer)
    assert "Use a" in str(error.value) or "Use GPT-2's" in str(error.value)
    assert "JSONL" in str(error.value)


@every_task
def test_a_tokenizer_without_offsets(name):
    with pytest.raises(TokenizerError, match="Slow does not report character offsets"):
        tasks.make(name, Slow())


@every_task
def test_what_is_no_tokenizer(name):
    """A model, say, in place of its tokenizer."""
    for other, kind in ((SimpleNamespace(tokenizer=Slow()), "SimpleNamespace"), ("gpt2", "str")):
        with pytest.raises(TokenizerError, match=f"a {kind} is no tokenizer: .* model.tokenizer$"):
            tasks.make(name, other)


@every_task
def test_bos_without_such_a_token(name, smollm2, monkeypatch):
    monkeypatch.setattr(type(smollm2), "bos_token_id", None, raising=False)
    with pytest.raises(TokenizerError, match="the tokenizer has no BOS token"):
        tasks.make(name, smollm2, bos=True)


@every_task
def test_sizes_that_can_t_be_had(name, smollm2):
    with pytest.raises(DataError, match=r"asked for .*10,000,000,000 .*, but only [\d,]+ differ"):
        tasks.make(name, smollm2, train=10**10)
    with pytest.raises(ConfigError, match=r"test=-1: a split's size must be 0 or more"):
        tasks.make(name, smollm2, test=-1)


@every_task
def test_splits_that_are_empty_or_unknown(name, smollm2):
    task = tasks.make(name, smollm2, train=3, validation=0, test=2)
    with pytest.raises(DataError, match=r"'validation' is empty; there are: .*train \(3\)"):
        task.batches("validation", 2)
    with pytest.raises(DataError, match=r"'dev' does not exist; there are: .*test \(2\)"):
        task.batch("dev", [0])
    for split, size in (("train", 3), ("test", 2)):
        with pytest.raises(IndexError):
            task.batch(split, [size])
