"""Gendered pronouns: "So Mary is good at chess, isn't" must go on with "she".

Thirty frames of one name, each ending in the auxiliary of a tag question. The answer is the
name's pronoun and its distractor the other one; the corrupted prompt has a name of the other
gender. No two examples have the same clean prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgewise.tasks.align import align
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.sampling import Shuffle, digits, lazy_splits, rng
from edgewise.tasks.task import Task
from edgewise.tasks.words import FEMALE, MALE, alike

FRAMES = (
    "So {} is good at chess, isn't",
    "So {} is very fond of old films, isn't",
    "So {} is always on time, isn't",
    "So {} is a wonderful cook, isn't",
    "So {} is ready to help anyone, isn't",
    "So {} is rather shy with strangers, isn't",
    "So {} is the best swimmer in town, isn't",
    "So {} is never in a hurry, is",
    "So {} is not easily upset, is",
    "So {} isn't fond of crowds, is",
    "So {} isn't coming to dinner, is",
    "So {} isn't afraid of heights, is",
    "So {} can speak three languages, can't",
    "So {} can play the violin, can't",
    "So {} can fix almost any car, can't",
    "So {} can run for hours, can't",
    "So {} can keep a secret, can't",
    "So {} can tell a good story, can't",
    "So {} loves to travel by train, doesn't",
    "So {} works late most evenings, doesn't",
    "So {} reads a book every week, doesn't",
    "So {} knows a lot about birds, doesn't",
    "So {} sings in the shower, doesn't",
    "So {} drinks too much coffee, doesn't",
    "So {} takes long walks on Sundays, doesn't",
    "So {} makes friends quickly, doesn't",
    "So {} enjoys a quiet morning, doesn't",
    "So {} lives near the sea, doesn't",
    "So {} paints in the garden, doesn't",
    "So {} wants to learn to sail, doesn't",
)
PRONOUNS = (" she", " he")
NEEDED = 2  # names of either gender


@dataclass(frozen=True)
class Questions:
    """Prompt i over frames x names, shuffled by `key`."""

    encoder: Encoder
    female: tuple[str, ...]
    male: tuple[str, ...]
    key: str

    @property
    def total(self) -> int:
        return len(FRAMES) * (len(self.female) + len(self.male))

    def __call__(self, i: int) -> Example:
        radices = (len(FRAMES), len(self.female) + len(self.male))
        frame, person = digits(Shuffle(self.total, self.key)[i], radices)
        name = (self.female + self.male)[person]
        own, others = (0, self.male) if name in self.female else (1, self.female)
        other = rng(self.key, "corrupted", i).choice(others)
        return align(
            self.encoder,
            Marked.of(FRAMES[frame].format(name), PRONOUNS[own]),
            Marked.of(FRAMES[frame].format(other), PRONOUNS[1 - own]),
            distractor=self.encoder.single(PRONOUNS[1 - own]),
        )


def gendered_pronoun(
    tokenizer: Any,
    train: int = 150,
    validation: int = 150,
    test: int = 378,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """The paper's GP task in frames of our own.

    Raises TokenizerError if " she" or " he" is not one token or too few names are equally long,
    DataError if more prompts are asked for than there are.
    """
    encoder = Encoder.of(tokenizer, bos)
    for pronoun in PRONOUNS:
        encoder.single(pronoun)
    female, male = alike(encoder, [FEMALE, MALE], NEEDED, "first names of either gender")
    make = Questions(encoder, female, male, f"gendered-pronoun/{seed}")
    sizes = {"test": test, "validation": validation, "train": train}
    splits = lazy_splits(make.total, sizes, make)
    return Task.encoded("gendered-pronoun", splits, encoder, sizes | {"seed": seed})
