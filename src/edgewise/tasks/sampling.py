"""Prompts by number: any number of distinct examples without a list of them.

A generated task numbers all its prompts 0..N-1 (mixed-radix digits: which frame, which name, ...)
and takes consecutive stretches of one seeded permutation of these numbers as its splits. The
permutation is computed, not stored: a Feistel network on the smallest even number of bits that
holds N, applied again until it lands below N. So examples are distinct, splits are disjoint,
example i depends on (seed, i) alone, and memory does not grow with the number of examples.
"""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgewise.errors import ConfigError, DataError
from edgewise.tasks.example import Example

ROUNDS = 6


@dataclass(frozen=True)
class Shuffle:
    """A permutation of range(total) fixed by `key`: `Shuffle(52, "seed 0")[i]`."""

    total: int
    key: str

    def __getitem__(self, i: int) -> int:
        assert 0 <= i < self.total
        half = max(1, ((self.total - 1).bit_length() + 1) // 2)
        while (i := self._permute(i, half)) >= self.total:
            pass
        return i

    def _permute(self, i: int, half: int) -> int:
        left, right = divmod(i, 1 << half)
        for step in range(ROUNDS):
            digest = hashlib.blake2b(f"{self.key}/{step}/{right}".encode(), digest_size=16).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") % (1 << half))
        return (left << half) | right


def digits(number: int, radices: Sequence[int]) -> tuple[int, ...]:
    """Mixed-radix digits, the last one fastest: digits(7, (2, 5)) == (1, 2)."""
    out = []
    for radix in reversed(radices):
        number, digit = divmod(number, radix)
        out.append(digit)
    assert number == 0
    return tuple(reversed(out))


def rng(*key: object) -> random.Random:
    """Random draws fixed by the key, the same in every process."""
    return random.Random("/".join(map(str, key)))


@dataclass(frozen=True, eq=False)
class Lazy(Sequence[Example]):
    """The examples make(i) for i in `numbers`, each made when it is asked for."""

    numbers: range
    make: Callable[[int], Example]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return Lazy(self.numbers[i], self.make)
        return self.make(self.numbers[operator.index(i)])


def lazy_splits(
    total: int, sizes: Mapping[str, int], make: Callable[[int], Example]
) -> dict[str, Lazy]:
    """Consecutive stretches of 0..total-1, in the order of `sizes`.

    Growing a split moves only those after it, so training comes last.
    Raises ConfigError on a negative size, DataError if `total` prompts are not enough.
    """
    for split, size in sizes.items():
        if size < 0:
            raise ConfigError(f"{split}={size}: a split's size must be 0 or more")
    if sum(sizes.values()) > total:
        asked = " + ".join(f"{size:,} {split}" for split, size in sizes.items())
        raise DataError(
            f"asked for {asked} prompts, but only {total:,} different ones can be made with this "
            "tokenizer; ask for fewer"
        )
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = Lazy(range(start, start + size), make)
        start += size
    return splits
