"""The blocks of a model, whose weights may be elsewhere until they are used.

The engine goes through the blocks one at a time, forwards and backwards, and asks for a block just
before it uses its weights. So whoever keeps them elsewhere (in pieces in several processes, on
disk) has to answer one question: make block i available.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edgewise.models.block import Block


@runtime_checkable
class Keeper(Protocol):
    """Brings the weights of blocks where they can be used."""

    def take(self, number: int) -> None:
        """Returns when block `number` can be used; the weights of any other block may be gone.

        Called again and again for the same block, and mostly for neighbours in turn, in either
        direction: the one after next may be fetched meanwhile.
        """


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[Block]):
    """A model's blocks in order. Taking one makes it usable, until another is taken.

    keeper   of the weights; None if all of them are where they are used
    """

    parts: tuple[Block, ...]
    keeper: Keeper | None = None

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Block:
        place = range(len(self.parts))[number]
        if self.keeper is not None:
            self.keeper.take(place)
        return self.parts[place]
