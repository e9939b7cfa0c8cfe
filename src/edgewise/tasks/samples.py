"""A pair of prompts of each task, clean and corrupted, and the answer of the first: for a person.

The words around a chat's messages are the model's own and left out, as are solved lines.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """Prompts end where the model is asked."""

    clean: str
    corrupted: str
    answer: str


SAMPLES: Mapping[str, Sample] = {
    "ioi": Sample(
        "Then, Ralph and Lisa had a lot of fun at the restaurant. Lisa gave a photo to",
        "Then, Craig and Greg had a lot of fun at the restaurant. Margaret gave a photo to",
        "Ralph",
    ),
    "ioi-t1": Sample(
        "When Catherine and Susan went to the office, Susan gave a camera to",
        "When Graham and Victoria went to the office, Ruth gave a camera to",
        "Catherine",
    ),
    "greater-than": Sample(
        "The regime persisted from 1810 to 18", "The regime persisted from 2054 to 20", "11 to 99"
    ),
    "gendered-pronoun": Sample(
        "So Stephen can play the violin, can't", "So Rosa can play the violin, can't", "he"
    ),
    "boolean": Sample(
        "... ( False and False ) or ( True and True ) is",
        "... ( True and False ) or ( True and False ) is",
        "True",
    ),
    "boolean-instruct": Sample(
        "user: ( False and False ) or ( True and True ), assistant: '",
        "user: ( True and False ) or ( True and False ), assistant: '",
        "True",
    ),
    "capitals": Sample("The capital of Portugal is", "The capital of Russia is", "Lisbon"),
    "capitals-few-shot": Sample(
        "... The capital of Portugal is", "... The capital of Russia is", "Lisbon"
    ),
    "capitals-instruct": Sample(
        "user: What is the capital of Portugal?, assistant: The capital is",
        "user: What is the capital of Russia?, assistant: The capital is",
        "Lisbon",
    ),
}
