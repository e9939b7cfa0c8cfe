"""Boolean expressions: "True and ( not False ) is" must go on with "True".

An expression starts as one to six literals; while there are several, a random operator joins two
neighbours (or, and) or negates one (not), and an operand that is not a literal goes in brackets.
Operators nest at most three deep, and no negation is negated. The corrupted prompt holds another
expression of as many tokens and the opposite value; the distractor is that value.

`boolean` asks after three solved lines; `boolean_instruct` asks through the chat template and
opens the answer with a quotation mark, so that the value is the next token. Both are the paper's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgewise.tasks.align import align
from edgewise.tasks.chat import chat_frame
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.sampling import lazy_splits, rng
from edgewise.tasks.task import Task

SHOTS = (
    "(True and False) or (False and True) is False\n"
    "(True or (not True)) and False is False\n"
    "(not (True and False)) or (False and True) is True\n"
)
SYSTEM = "Evaluate the following boolean expression as either 'True' or 'False'."
DRAWS = 50_000
MOST_LITERALS = 6
MOST_NESTED = 3


def expression(draw: random.Random) -> tuple[str, bool] | None:
    """An expression and its value, or None if it nests too deep or negates a negation."""
    parts = []  # (text, value, depth), left to right
    for _ in range(draw.randint(1, MOST_LITERALS)):
        value = draw.random() < 0.5
        parts.append((str(value), value, 0))
    while len(parts) > 1:
        operator = draw.choice(("or", "and", "not"))
        i = draw.randrange(len(parts) - (operator != "not"))
        operands = parts[i : i + 1 + (operator != "not")]
        if operator == "not" and operands[0][0].startswith("not "):
            return None
        texts = [f"( {text} )" if depth else text for text, _, depth in operands]
        values = [value for _, value, _ in operands]
        depth = 1 + max(depth for *_, depth in operands)
        if depth > MOST_NESTED:
            return None
        if operator == "not":
            parts[i : i + 1] = [(f"not {texts[0]}", not values[0], depth)]
        else:
            value = any(values) if operator == "or" else all(values)
            parts[i : i + 2] = [(f" {operator} ".join(texts), value, depth)]
    return parts[0][:2]


@cache
def expressions(seed: int) -> tuple[tuple[str, bool], ...]:
    """All different expressions of DRAWS draws, in random order."""
    draw = rng("boolean", seed)
    found = dict(filter(None, (expression(draw) for _ in range(DRAWS))))
    return tuple(draw.sample(list(found.items()), len(found)))


@dataclass(frozen=True)
class Evaluations:
    """Prompt i asks for expression i of those that have a counterpart."""

    encoder: Encoder
    frame: tuple[str, str]  # what goes before and after the expression
    answers: tuple[str, str]  # of False and of True
    asked: tuple[tuple[str, bool], ...]
    counterparts: dict[str, tuple[str, ...]]  # equally long, of the opposite value
    key: str

    def __call__(self, i: int) -> Example:
        text, value = self.asked[i]
        other = rng(self.key, "corrupted", i).choice(self.counterparts[text])
        before, after = self.frame
        return align(
            self.encoder,
            Marked.of(before + text + after, self.answers[value]),
            Marked.of(before + other + after, self.answers[not value]),
            distractor=self.encoder.single(self.answers[not value], after=after),
        )


def boolean(
    tokenizer: Any,
    train: int = 200,
    validation: int = 200,
    test: int = 500,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """Boolean expressions after three solved lines, "... is True".

    Raises TokenizerError if " True" or " False" is not one token, DataError if more prompts are
    asked for than there are (some 5,000).
    """
    encoder = Encoder.of(tokenizer, bos)
    sizes = {"test": test, "validation": validation, "train": train}
    return _task("boolean", encoder, (SHOTS, " is"), (" False", " True"), sizes, seed)


def boolean_instruct(
    tokenizer: Any,
    train: int = 200,
    validation: int = 200,
    test: int = 500,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """Boolean expressions as a question to an assistant, whose answer begins with a quote.

    Raises as `boolean` does, and TokenizerError if the tokenizer has no chat template.
    """
    encoder = Encoder.of(tokenizer, bos)
    frame = chat_frame(tokenizer, SYSTEM, "{}", "'", instead="boolean")
    sizes = {"test": test, "validation": validation, "train": train}
    return _task("boolean-instruct", encoder, frame, ("False", "True"), sizes, seed)


def _task(
    name: str,
    encoder: Encoder,
    frame: tuple[str, str],
    answers: tuple[str, str],
    sizes: dict[str, int],
    seed: int,
) -> Task:
    before, after = frame
    for answer in answers:
        encoder.single(answer, after=after)
    pool = expressions(seed)
    counts = encoder.counts([before + text + after for text, _ in pool])
    groups: dict[tuple[int, bool], list[str]] = {}
    for (text, value), count in zip(pool, counts, strict=True):
        groups.setdefault((count, value), []).append(text)
    alike = {key: tuple(texts) for key, texts in groups.items()}
    counterparts = {
        text: alike[count, not value]
        for (text, value), count in zip(pool, counts, strict=True)
        if (count, not value) in alike
    }
    asked = tuple((text, value) for text, value in pool if text in counterparts)
    make = Evaluations(encoder, frame, answers, asked, counterparts, f"{name}/{seed}")
    splits = lazy_splits(len(asked), sizes, make)
    return Task.encoded(name, splits, encoder, sizes | {"seed": seed})
