"""Indirect object identification: "Then, Mary and John went to the zoo. John gave a toy to" Mary.

Fifteen frames (Wang et al. 2022), each in two name orders: the first clause names the subject
first ("BABA") or the indirect object first ("ABBA"); in the second clause B acts and A receives.
The answer is A, its distractor B. In the corrupted prompt the four name slots hold four different
other names, so it has the form of the clean one and says nothing of who receives.

Two frames of each order, drawn by the seed, are held out for the test split; training and
validation never show them. No two examples have the same clean prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgewise.tasks.align import align
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.sampling import Shuffle, digits, lazy_splits, rng
from edgewise.tasks.task import Task
from edgewise.tasks.words import NAMES, OBJECTS, PLACES, alike

# {S}: both names, {B}: the giver again, {P}: a place, {O}: an object; the answer follows.
FRAMES = (
    "Then, {S} went to the {P}. {B} gave a {O} to",
    "Then, {S} had a lot of fun at the {P}. {B} gave a {O} to",
    "Then, {S} were working at the {P}. {B} decided to give a {O} to",
    "Then, {S} were thinking about going to the {P}. {B} wanted to give a {O} to",
    "Then, {S} had a long argument, and afterwards {B} said to",
    "After {S} went to the {P}, {B} gave a {O} to",
    "When {S} got a {O} at the {P}, {B} decided to give it to",
    "When {S} got a {O} at the {P}, {B} decided to give the {O} to",
    "While {S} were working at the {P}, {B} gave a {O} to",
    "While {S} were commuting to the {P}, {B} gave a {O} to",
    "After the lunch, {S} went to the {P}. {B} gave a {O} to",
    "Afterwards, {S} went to the {P}. {B} gave a {O} to",
    "Then, {S} had a long argument. Afterwards {B} said to",
    "The {P} {S} went to had a {O}. {B} gave it to",
    "Friends {S} found a {O} at the {P}. {B} gave it to",
)
ORDERS = {"BABA": "{b} and {a}", "ABBA": "{a} and {b}"}
ONE_FRAME = "When {S} went to the {P}, {B} gave a {O} to"
HELD_OUT = 2  # frames of each order
NEEDED = 6  # names: A, B and the four of the corrupted prompt


@dataclass(frozen=True)
class Sentences:
    """Prompt i of a list that goes through its frames in turn, shuffled anew each time round."""

    encoder: Encoder
    names: tuple[str, ...]
    frames: tuple[tuple[str, str], ...]  # (text, order)
    key: str

    @property
    def total(self) -> int:
        """As many as the frame with the fewest different prompts allows."""
        return len(self.frames) * min(self._choices(text)[0] for text, _ in self.frames)

    def _choices(self, text: str) -> tuple[int, tuple[int, ...]]:
        n = len(self.names)
        places = len(PLACES) if "{P}" in text else 1
        objects = len(OBJECTS) if "{O}" in text else 1
        return n * (n - 1) * places * objects, (n, n - 1, places, objects)

    def __call__(self, i: int) -> Example:
        turn, step = divmod(i, len(self.frames))
        which = Shuffle(len(self.frames), f"{self.key}/{turn}")[step]
        text, order = self.frames[which]
        count, radices = self._choices(text)
        number = Shuffle(count, f"{self.key}/{text}/{order}")[turn]
        a, b, place, thing = digits(number, radices)
        b += b >= a  # the other name: n - 1 choices that leave out a
        others = [name for j, name in enumerate(self.names) if j not in (a, b)]
        c = rng(self.key, "corrupted", i).sample(others, 4)

        def sentence(first_a: str, first_b: str, second_b: str, second_a: str) -> Marked:
            both = ORDERS[order].format(a=first_a, b=first_b)
            prompt = text.format(S=both, B=second_b, P=PLACES[place], O=OBJECTS[thing])
            return Marked.of(prompt, f" {second_a}")

        a_name, b_name = self.names[a], self.names[b]
        return align(
            self.encoder,
            sentence(a_name, b_name, b_name, a_name),
            sentence(*c),
            distractor=self.encoder.word(f" {b_name}")[0],
        )


def ioi(
    tokenizer: Any,
    train: int = 200,
    validation: int = 200,
    test: int = 500,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """The paper's IOI task: 26 frame orders to learn from, four unseen ones to be tested on.

    Names are those of one token if the tokenizer has enough of them, else of one same length.
    Raises TokenizerError if fewer than six names will do, DataError if more prompts are asked for
    than there are.
    """
    encoder = Encoder.of(tokenizer, bos)
    (names,) = alike(encoder, [NAMES], NEEDED, "first names")
    draw = rng("ioi", seed, "held out")
    held = tuple((text, order) for order in ORDERS for text in draw.sample(FRAMES, HELD_OUT))
    rest = tuple((text, o) for text in FRAMES for o in ORDERS if (text, o) not in held)
    seen = Sentences(encoder, names, rest, f"ioi/{seed}/seen")
    unseen = Sentences(encoder, names, held, f"ioi/{seed}/unseen")
    splits = {
        **lazy_splits(seen.total, {"validation": validation, "train": train}, seen),
        **lazy_splits(unseen.total, {"test": test}, unseen),
    }
    asked = {"train": train, "validation": validation, "test": test, "seed": seed}
    return Task.encoded("ioi", splits, encoder, asked | {"held_out": [list(f) for f in held]})


def ioi_t1(
    tokenizer: Any,
    train: int = 50,
    validation: int = 50,
    test: int = 50,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """IOI in a single frame and name order ("ABBA"), as Conmy et al. (2023) use it."""
    encoder = Encoder.of(tokenizer, bos)
    (names,) = alike(encoder, [NAMES], NEEDED, "first names")
    make = Sentences(encoder, names, ((ONE_FRAME, "ABBA"),), f"ioi-t1/{seed}")
    sizes = {"test": test, "validation": validation, "train": train}
    splits = lazy_splits(make.total, sizes, make)
    return Task.encoded("ioi-t1", splits, encoder, sizes | {"seed": seed})
