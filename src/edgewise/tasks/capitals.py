"""Capitals: "The capital of France is" must go on with "Paris".

The corrupted prompt asks for another country, of as many tokens; its capital is the distractor.
Half of the countries are asked for in training, a quarter each in validation and test; no pair of
countries comes twice. Capitals are compared by their first token; if the tokenizer has enough
that are one token, only these are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgewise.errors import TokenizerError
from edgewise.tasks.align import align
from edgewise.tasks.chat import chat_frame
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.sampling import lazy_splits, rng
from edgewise.tasks.task import Task
from edgewise.tasks.words import PLENTY

CAPITALS = {
    "Afghanistan": "Kabul",
    "Argentina": "Buenos Aires",
    "Armenia": "Yerevan",
    "Austria": "Vienna",
    "Bangladesh": "Dhaka",
    "Belarus": "Minsk",
    "Belgium": "Brussels",
    "Bulgaria": "Sofia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Colombia": "Bogota",
    "Croatia": "Zagreb",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Ecuador": "Quito",
    "Egypt": "Cairo",
    "Ethiopia": "Addis Ababa",
    "Finland": "Helsinki",
    "France": "Paris",
    "Georgia": "Tbilisi",
    "Germany": "Berlin",
    "Ghana": "Accra",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "India": "New Delhi",
    "Indonesia": "Jakarta",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Jamaica": "Kingston",
    "Japan": "Tokyo",
    "Jordan": "Amman",
    "Kenya": "Nairobi",
    "Lebanon": "Beirut",
    "Libya": "Tripoli",
    "Malaysia": "Kuala Lumpur",
    "Morocco": "Rabat",
    "Nepal": "Kathmandu",
    "New Zealand": "Wellington",
    "North Korea": "Pyongyang",
    "Norway": "Oslo",
    "Pakistan": "Islamabad",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Qatar": "Doha",
    "Romania": "Bucharest",
    "Russia": "Moscow",
    "Saudi Arabia": "Riyadh",
    "Senegal": "Dakar",
    "Serbia": "Belgrade",
    "Somalia": "Mogadishu",
    "South Korea": "Seoul",
    "Spain": "Madrid",
    "Sudan": "Khartoum",
    "Sweden": "Stockholm",
    "Syria": "Damascus",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Uganda": "Kampala",
    "Venezuela": "Caracas",
    "Vietnam": "Hanoi",
    "Zimbabwe": "Harare",
    "the Netherlands": "Amsterdam",
    "the Philippines": "Manila",
    "the United Kingdom": "London",
    "the United States": "Washington",
}
SHOTS = ("Sweden", "Japan", "Egypt")  # the solved lines of the few-shot prompt
SYSTEM = "Answer the question with the name of the city."
NEEDED = 8  # countries, so that each split has two


@dataclass(frozen=True)
class Questions:
    """Prompt i asks for the first country of pair i, in the words of `frame`."""

    encoder: Encoder
    frame: tuple[str, str]  # what goes before and after the country
    pairs: tuple[tuple[str, str], ...]  # (country, another of as many tokens)

    def __call__(self, i: int) -> Example:
        before, after = self.frame
        clean, corrupted = (
            Marked.of(before + country + after, f" {CAPITALS[country]}")
            for country in self.pairs[i]
        )
        competitor = self.encoder.word(f" {CAPITALS[self.pairs[i][1]]}")[0]
        return align(self.encoder, clean, corrupted, distractor=competitor, most=1)


def capitals(
    tokenizer: Any,
    train: int = 100,
    validation: int = 50,
    test: int = 100,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """The capital ends the sentence "The capital of {country} is".

    Raises TokenizerError if too few countries are equally long, DataError if more prompts are
    asked for than there are pairs of countries.
    """
    encoder = Encoder.of(tokenizer, bos)
    sizes = {"train": train, "validation": validation, "test": test}
    return _task("capitals", encoder, ("The capital of ", " is"), sizes, seed)


def capitals_few_shot(
    tokenizer: Any,
    train: int = 100,
    validation: int = 50,
    test: int = 100,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """The same sentence after three that are complete. Raises as `capitals` does."""
    encoder = Encoder.of(tokenizer, bos)
    shots = "".join(f"The capital of {country} is {CAPITALS[country]}.\n" for country in SHOTS)
    sizes = {"train": train, "validation": validation, "test": test}
    return _task("capitals-few-shot", encoder, (f"{shots}The capital of ", " is"), sizes, seed)


def capitals_instruct(
    tokenizer: Any,
    train: int = 100,
    validation: int = 50,
    test: int = 100,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """A question to an assistant, whose answer begins "The capital is".

    Raises as `capitals` does, and TokenizerError if the tokenizer has no chat template.
    """
    encoder = Encoder.of(tokenizer, bos)
    question = "What is the capital of {}?"
    frame = chat_frame(tokenizer, SYSTEM, question, "The capital is", instead="capitals")
    sizes = {"train": train, "validation": validation, "test": test}
    return _task("capitals-instruct", encoder, frame, sizes, seed)


def _task(
    name: str, encoder: Encoder, frame: tuple[str, str], sizes: dict[str, int], seed: int
) -> Task:
    groups = _groups(encoder)
    order = [country for group in groups for country in group]
    order = rng("capitals", seed, "countries").sample(order, len(order))
    quarter = len(order) // 4
    own = {
        "validation": order[:quarter],
        "test": order[quarter : 2 * quarter],
        "train": order[2 * quarter :],
    }
    splits = {}
    for split, size in sizes.items():
        pairs = [
            (country, other)
            for group in groups
            for country in group
            for other in group
            if country in own[split] and other != country
        ]
        pairs = rng("capitals", seed, split).sample(pairs, len(pairs))
        make = Questions(encoder, frame, tuple(pairs))
        splits |= lazy_splits(len(pairs), {split: size}, make)
    return Task.encoded(name, splits, encoder, sizes | {"seed": seed})


def _groups(encoder: Encoder) -> list[list[str]]:
    """Countries by number of tokens, each with a capital whose first token is its own."""
    capital_tokens = {c: encoder.word(f" {city}") for c, city in CAPITALS.items() if c not in SHOTS}
    single = {c: tokens for c, tokens in capital_tokens.items() if len(tokens) == 1}
    used = single if len(single) >= PLENTY else capital_tokens
    unknown, firsts = encoder.tokenizer.unk_token_id, set()
    groups: dict[int, list[str]] = {}
    for country, tokens in used.items():
        country_tokens = encoder.word(f" {country}")
        if tokens[0] not in firsts and unknown not in (*tokens, *country_tokens):
            firsts.add(tokens[0])
            groups.setdefault(len(country_tokens), []).append(country)
    found = [group for group in groups.values() if len(group) > 1]
    if sum(map(len, found)) < NEEDED:
        raise TokenizerError(
            f"this task needs at least {NEEDED} countries that share a number of tokens, with "
            f"capitals told apart by their first token; with this tokenizer there are "
            f"{sum(map(len, found))}. Use a tokenizer that knows the names of countries, or write "
            "the prompts as JSONL (Task.from_jsonl)."
        )
    return found
