"""Greater-than: "The war lasted from 1734 to 17" must go on with a year after 1734.

What is predicted depends on how the tokenizer writes 1734:

* two digits a token (GPT-2: " 17", "34"): the next token is the year's last two digits YY. Right
  are YY > 34, wrong YY < 34; 34 itself is neither. Predictions are among "00".."99".
* one digit a token (SmolLM2, Gemma: "1", "7", "3", "4"): the next token is the tens digit. Right
  are digits > 3 and wrong digits < 3, whatever follows; 3 itself can go on either way and is
  neither. Predictions are among "0".."9".

So `good` and `bad` are the tokens above and below the value v in the prompt, nearest first: PD is
P(good) - P(bad), PD-10 the same over the first ten of each. `answers` holds one right answer, that
of the nearest later year. The corrupted prompt has another v and a random century. The years YY
of training, validation and test are disjoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgewise.errors import DataError, TokenizerError
from edgewise.tasks.align import align
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.sampling import Shuffle, digits, lazy_splits, rng
from edgewise.tasks.task import Task

FRAMES = (
    "The {N} lasted from {Y} to {C}",
    "The {N} stretched from {Y} to {C}",
    "The {N} spanned the years {Y} to {C}",
    "The {N} unfolded from {Y} to {C}",
    "The {N} took place between {Y} and {C}",
    "The {N} persisted from {Y} to {C}",
)
NOUNS = tuple(
    """
    alliance apprenticeship argument assault boycott campaign chase collaboration competition
    conflict conquest construction correspondence crisis crusade debate decline depression dialogue
    dispute drought dynasty education effort emergency engagement epidemic era excavation exhibition
    exile expansion expedition experiment exploration famine festival feud friendship hunt
    illness inquiry insurgency invasion investigation journey litigation marriage
    migration mission mutiny negotiation occupation operation outbreak partnership
    persecution pilgrimage plague practice presidency process program project prosperity
    protest pursuit quarrel rebellion reconstruction reform regime reign research resistance
    restoration revival revolt rivalry rule search settlement shortage siege strike struggle study
    survey tour trade tradition transition treaty trial truce tutorship unrest uprising
    voyage war work
    """.split()
)
CENTURIES = tuple(range(10, 22))
SHARES = {"validation": 15, "test": 25}  # percent of the years YY; training has the rest


Year = tuple[int, int, int]  # century, YY, and the value v of the nearest later year


@dataclass(frozen=True)
class Writing:
    """How a tokenizer writes years: `tokens[v]` continues a century, v = YY // `step`."""

    tokens: tuple[int, ...]
    step: int  # 1: two digits a token, v is YY; 10: one digit a token, v is the tens digit
    years: tuple[Year, ...]  # those it writes so, with values both below and above

    @classmethod
    def of(cls, encoder: Encoder) -> Writing:
        """Raises TokenizerError for a tokenizer that writes years in neither way."""
        for step in (1, 10):
            tokens = tuple(_tokens(encoder, step))
            writing = cls(tokens, step, tuple(_years(encoder, step, tokens)) if tokens else ())
            if len({year // step for _, year, _ in writing.years}) > 1:
                return writing
        raise TokenizerError(
            "greater-than needs years as two tokens of two digits or four of one; the tokenizer "
            f"writes 1734 as {encoder.show(encoder.word(' 1734'))}. Use GPT-2's, SmolLM2's or "
            "Gemma's, or write the prompts as JSONL (Task.from_jsonl)."
        )


def _digits(v: int, step: int) -> str:
    return f"{v:02d}" if step == 1 else str(v)


def _after(encoder: Encoder, century: int, text: str) -> tuple[int, ...]:
    """The tokens of `text` after "from {century}"; none where the tokenizer joins the two."""
    try:
        return encoder.word(text, after=f"from {century}")
    except DataError:
        return ()


def _tokens(encoder: Encoder, step: int) -> list[int]:
    """The token of each value v where it stands alone; empty if one never does."""
    found = []
    for v in range(100 // step):
        # GPT-2 joins " 1800" and its like, so centuries that are not asked about help out.
        probes = range(CENTURIES[0], 100)
        written = (_after(encoder, century, _digits(v, step)) for century in probes)
        token = next((tokens[0] for tokens in written if len(tokens) == 1), None)
        if token is None:
            return []
        found.append(token)
    return found if len(set(found)) == len(found) else []


def _years(encoder: Encoder, step: int, tokens: tuple[int, ...]) -> Iterator[Year]:
    lengths = {century: len(encoder.word(f" {century}")) for century in CENTURIES}
    usual = Counter(lengths.values()).most_common(1)[0][0]
    for century in CENTURIES:
        if lengths[century] != usual:
            continue
        alone = [
            v
            for v, token in enumerate(tokens)
            if _after(encoder, century, _digits(v, step)) == (token,)
        ]
        for year in range(step, 100 - step):
            v = year // step
            expected = (tokens[v],) if step == 1 else (tokens[v], tokens[year % 10])
            later = next((other for other in alone if other > v), None)
            if later is not None and _after(encoder, century, f"{year:02d}") == expected:
                yield century, year, later


@dataclass(frozen=True)
class Spans:
    """Prompt i over frames x nouns x `years`, shuffled by `key`."""

    encoder: Encoder
    writing: Writing
    years: tuple[Year, ...]
    key: str

    @property
    def total(self) -> int:
        return len(FRAMES) * len(NOUNS) * len(self.years)

    def __call__(self, i: int) -> Example:
        radices = (len(FRAMES), len(NOUNS), len(self.years))
        frame, noun, which = digits(Shuffle(self.total, self.key)[i], radices)
        step, tokens = self.writing.step, self.writing.tokens
        shown = self.years[which]
        v = shown[1] // step
        draw = rng(self.key, "corrupted", i)
        while (other := draw.choice(self.writing.years))[1] // step == v:
            pass

        def span(century: int, year: int, later: int) -> Marked:
            prompt = FRAMES[frame].format(N=NOUNS[noun], Y=f"{century}{year:02d}", C=century)
            return Marked.of(prompt, _digits(later, step))

        good, bad = tokens[v + 1 :], tokens[:v][::-1]
        return align(self.encoder, span(*shown), span(*other), good=good, bad=bad)


def greater_than(
    tokenizer: Any,
    train: int = 150,
    validation: int = 150,
    test: int = 500,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """The paper's GT task, with the metric around the year that the prompt shows.

    Raises TokenizerError if years are written in neither way, DataError if more prompts are asked
    for than there are.
    """
    encoder = Encoder.of(tokenizer, bos)
    writing = Writing.of(encoder)
    order = rng("greater-than", seed, "years").sample(range(100), 100)
    sizes = {"validation": validation, "test": test, "train": train}
    splits = {}
    for split, size in sizes.items():
        share = SHARES.get(split, len(order))
        own, order = order[:share], order[share:]
        years = tuple(year for year in writing.years if year[1] in own)
        make = Spans(encoder, writing, years, f"greater-than/{seed}/{split}")
        splits |= lazy_splits(make.total, {split: size}, make)
    asked = sizes | {"seed": seed, "digits_per_token": 2 if writing.step == 1 else 1}
    return Task.encoded("greater-than", splits, encoder, asked, writing.tokens)
