"""A prompt in the words of the tokenizer's chat template, with a slot for the question."""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from edgewise.errors import TokenizerError

SLOT = "SLOT-FOR-THE-QUESTION"


def chat_frame(
    tokenizer: Any, system: str, user: str, opening: str, instead: str
) -> tuple[str, str]:
    """What goes before and after the question: (before, after).

    `user` holds a {} for the question; `opening` is what the assistant has said already.
    A template without a system turn gets the system text at the head of the user's.
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
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
