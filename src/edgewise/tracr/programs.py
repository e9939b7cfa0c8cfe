"""The programs: what each computes, on which sequences, and its circuit where one was published."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

Token = str | int


@dataclass(frozen=True)
class Program:
    """A RASP program and the sequences it is run on: all of `length` tokens of a vocabulary.

    expression   the program, given Tracr's modules `rasp` and `lib`
    first        the first position whose output counts; 0 is the BOS token, which Tracr puts first
    circuit      the edges that Edge Pruning's paper (arXiv 2406.16778, figure 4) gives, if it does
    """

    name: str
    vocabulary: tuple[Token, ...]
    length: int
    expression: Callable[[Any, Any], Any]
    first: int = 1
    circuit: tuple[str, ...] = ()

    @property
    def sequences(self) -> list[tuple[Token, ...]]:
        """Every sequence, BOS apart."""
        return list(product(self.vocabulary, repeat=self.length))

    @property
    def others(self) -> list[tuple[Token, ...]]:
        """Every sequence with all of its tokens changed, each to the next of the vocabulary."""
        following = self.vocabulary[1:] + self.vocabulary[:1]
        change = dict(zip(self.vocabulary, following, strict=True))
        return [tuple(change[token] for token in sequence) for sequence in self.sequences]


REVERSE = Program(
    "reverse",
    (1, 2, 3),
    3,
    lambda rasp, lib: lib.make_reverse(rasp.tokens),
    circuit=(
        "tok->a0.h0<v>",
        "a0.h0->m0",
        "tok->m0",
        "m0->m1",
        "tok->m1",
        "pos->m1",
        "m1->m2",
        "m2->a3.h0<q>",
        "pos->a3.h0<k>",
        "tok->a3.h0<v>",
        "a3.h0->logits",
    ),
)

# The share of x so far. Two edges of the published circuit, the token embedding into queries and
# keys, act on the output at BOS alone.
XPROPORTION = Program(
    "xproportion",
    ("a", "b", "c", "x"),
    4,
    lambda rasp, lib: lib.make_frac_prevs((rasp.tokens == "x").named("is_x")),
    first=0,
    circuit=(
        "tok->m0",
        "m0->a1.h0<v>",
        "tok->a1.h0<q>",
        "pos->a1.h0<q>",
        "tok->a1.h0<k>",
        "pos->a1.h0<k>",
        "a1.h0->logits",
    ),
)

HISTOGRAM = Program("histogram", ("a", "b", "c"), 4, lambda _, lib: lib.make_hist())

# The share of opening brackets so far less that of closing ones: two heads side by side.
PAIR_BALANCE = Program(
    "pair-balance",
    ("(", ")", "x"),
    4,
    lambda rasp, lib: lib.make_pair_balance(rasp.tokens, "(", ")"),
    first=0,
)

SORT = Program(
    "sort",
    (1, 2, 3),
    3,
    lambda rasp, lib: lib.make_sort(rasp.tokens, rasp.tokens, max_seq_len=5, min_key=1),
)

# The most frequent token first.
FREQUENCY = Program("frequency", (1, 2, 3), 3, lambda _, lib: lib.make_sort_freq(5))

PROGRAMS = {
    program.name: program
    for program in (REVERSE, XPROPORTION, HISTOGRAM, PAIR_BALANCE, SORT, FREQUENCY)
}
