"""The blocks of a model, whose weights may be elsewhere until they are used.

The engine goes through the blocks one at a time, forwards and backwards, and asks for a block just
before it uses its weights. So whoever keeps them elsewhere (in pieces in several processes, on
disk) has to answer one question: make block i available.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

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


def move(
    module: nn.Module,
    device: str | torch.device,
    dtype: torch.dtype | None = None,
    but: Collection[nn.Parameter] = (),
) -> None:
    """The module's parameters, except those in `but`, to a device and a dtype, its buffers to the
    device: in the dtype they have, as `transformers` leaves them too."""
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if parameter not in but:
                parameter.data = parameter.data.to(device, dtype)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = buffer.to(device)
