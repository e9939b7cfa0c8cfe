"""Boolean expressions: Python agrees about every value."""

import re

import pytest

from edgewise import tasks
from edgewise.errors import DataError, TokenizerError
from edgewise.tasks.boolean import MOST_LITERALS, SHOTS, SYSTEM, expressions
from edgewise.tasks.chat import chat_frame

SPLITS = ("train", "validation", "test")


def nesting(text):
    """How deep brackets nest."""
    depth = deepest = 0
    for mark in re.findall(r"[()]", text):
        depth += 1 if mark == "(" else -1
        deepest = max(deepest, depth)
    return deepest


def test_expressions_are_what_they_are_said_to_be():
    found = expressions(0)
    assert len(found) == len(dict(found)) > 4000
    for text, value in found:
        assert eval(text) is value
        assert "not not" not in text
        assert "not ( not" not in text
        assert 1 <= len(re.findall("True|False", text)) <= MOST_LITERALS
        assert nesting(text) <= 2  # three operators, each inside the next
    assert dict(found).keys() >= {"True", "True or False", "True and ( not False )"}
    assert expressions(1) != found


def test_the_solved_lines_are_right():
    for line in SHOTS.splitlines():
        text, value = line.split(" is ")
        assert eval(text) is (value == "True")


def check(tokenizer, example, answer, read):
    clean, corrupted = (read(tokenizer.decode(ids)) for ids in (example.clean, example.corrupted))
    assert tokenizer.decode(example.answers) == answer.format(eval(clean))
    assert tokenizer.decode([example.distractor]) == answer.format(eval(corrupted))
    assert eval(clean) is not eval(corrupted)


def test_few_shot(smollm2):
    task = tasks.boolean(smollm2, 30, 30, 30)

    def read(text):
        assert text.startswith(SHOTS)
        assert text.endswith(" is")
        return text.removeprefix(SHOTS).removesuffix(" is")

    for example in (example for split in SPLITS for example in task.splits[split]):
        check(smollm2, example, " {}", read)
    assert len({e.clean for split in SPLITS for e in task.splits[split]}) == 90


def test_instruct(smollm2):
    task = tasks.boolean_instruct(smollm2, 20, 10, 10)

    def read(text):
        assert SYSTEM in text
        assert text.endswith("<|im_start|>assistant\n'")
        return re.search(r"<\|im_start\|>user\n(.*)<\|im_end\|>", text)[1]

    for example in (example for split in SPLITS for example in task.splits[split]):
        check(smollm2, example, "{}", read)


WORDS = "True False and or not is either as following expression boolean Evaluate the"


@pytest.fixture
def chatty(tokenizers):
    """A tokenizer whose chat template has no system turn and leaves no space after the prompt."""
    tokenizer = tokenizers.word_level(WORDS + " ( ) ' . : [ ] INST")
    tokenizer.chat_template = (
        "{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "[INST] {{ m.content }} [/INST]{% endfor %}"
    )
    yield tokenizer
    tokenizer.chat_template = None


def test_a_template_without_a_system_turn_gets_it_in_the_user_s(chatty):
    before, after = chat_frame(chatty, "Be brief.", "What is {}?", "'", instead="")
    assert before == "[INST] Be brief.\n\nWhat is "
    assert after == "? [/INST] '"
    example = tasks.boolean_instruct(chatty, 1, 0, 0).splits["train"][0]
    assert chatty.decode(example.answers) in ("True", "False")


DATES = "{{ strftime_now('%d %b %Y|%Y-%m-%d|%A, %B %-d|%H:%M') }}"
WRITTEN = "26 Jul 2024|2024-07-26|Friday, July 26|00:00"
LLAMA = """\
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
Today: {{ date_string }}"""
MISTRAL = """\
{%- macro year(form) %}{{ strftime_now(form) if strftime_now is defined }}{% endmacro -%}
{{ year("%Y") | int - 1 }}, {{ strftime_now("%d")[:1] }}"""


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (DATES, WRITTEN),
        (f"\n  {DATES}", f"\n  {WRITTEN}"),
        (f"  {{% if true %}}{DATES}{{% endif %}}", WRITTEN),
        (LLAMA, "Today: 26 Jul 2024"),
        (MISTRAL, "2023, 2"),
    ],
)
def test_a_template_that_prints_the_date_prints_the_same_every_day(chatty, template, written):
    """White space at its beginning is as without a date."""
    chatty.chat_template = template + " {{ messages[-1].content }}"
    frame = chat_frame(chatty, "Be brief.", "What is {}?", "'", instead="")
    assert frame == (f"{written} What is ", "? '")


def test_without_a_chat_template_another_task_is_named(tokenizers):
    with pytest.raises(TokenizerError, match=r"has none.*or the task 'boolean'"):
        tasks.boolean_instruct(tokenizers.word_level(WORDS))


def test_values_must_be_single_tokens(tokenizers):
    with pytest.raises(TokenizerError, match="needs ' False' to be one token"):
        tasks.boolean(tokenizers.bpe("and or not is True"))


def test_more_prompts_than_there_are_is_refused(smollm2):
    with pytest.raises(DataError, match=r"asked for 500 test.*9,000 train prompts, but only"):
        tasks.boolean(smollm2, train=9000)
