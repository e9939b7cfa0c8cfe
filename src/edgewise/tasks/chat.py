"""A prompt in the words of the tokenizer's chat template, with a slot for the question.

Some templates print today's date, by which a task would be another one tomorrow: they get `TODAY`,
always. The clock that transformers lends them is a function, `strftime_now(format)`; a macro of
that name, put before the template, hides it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from edgewise.errors import TokenizerError

SLOT = "SLOT-FOR-THE-QUESTION"
TODAY = datetime(2024, 7, 26)  # what Llama 3's templates print where there is no clock
CODES = ("-d", "-m", *"aAbBdeFHIjmMpSTyY")  # of strftime, those that a template may ask for


def chat_frame(
    tokenizer: Any, system: str, user: str, opening: str, instead: str
) -> tuple[str, str]:
    """What goes before and after the question: (before, after).

    `user` holds a {} for the question; `opening` is what the assistant has said already.
    A template without a system turn gets the system text at the head of the user's; one that
    prints the date prints TODAY.
    Raises TokenizerError if there is no template, naming the task to use `instead`.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TokenizerError(
            "this task puts its question through the tokenizer's chat template, and this tokenizer "
            f"has none. Use an instruction-tuned model, or the task {instead!r}."
        )
    question = user.format(SLOT)
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    try:
        text = _render(tokenizer, turns)
    except TemplateError:
        text = _render(tokenizer, [{"role": "user", "content": f"{system}\n\n{question}"}])
    gap = "" if text[-1].isspace() else " "
    before, _, after = (text + gap + opening).partition(SLOT)
    return before, after


def _render(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = f"{_clock()}\n{template}"  # jinja drops the line break after a macro's end
    return tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=False, add_generation_prompt=True
    )


def _clock() -> str:
    """A jinja macro `strftime_now` for which it is always TODAY."""
    filters = "".join(f" | replace('%{code}', '{TODAY:%{code}}')" for code in CODES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}"
