"""A model whose blocks' weights stay in their files, read as they are used.

`transformers` maps safetensors files into memory: a weight that is loaded in its own dtype on the
CPU takes no memory of its own, and the system reads its pages when they are touched and drops them
when it needs room. The engine asks for blocks one at a time (`models.blocks`), so the matrices of
the block in use are copied out of the files, to the device, and a thread copies the next block's
meanwhile; the others are the mapped ones. Vectors (norms, biases) and what is around the blocks
(embeddings, head) are on the device at all times.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgewise.models.blocks import Blocks, move
from edgewise.models.model import Model


def offload(model: Model, device: torch.device) -> Model:
    """The model with what isn't a matrix of a block on `device`, where blocks come as they are
    used; `model` itself can't be used any more unless that is the CPU."""
    parts = model.blocks.parts
    keeper = _Reading([part.module for part in parts], device)
    move(model.hf, device, but={p for matrices in keeper.matrices for p in matrices})
    return replace(model, blocks=Blocks(parts, keeper))


class _Reading:
    """A `Keeper` that copies a block's matrices when it is taken, and its neighbour's ahead of
    time. Two blocks are in memory at most."""

    def __init__(self, modules: Sequence[nn.Module], device: torch.device):
        # With its number: every thread has a current GPU of its own, and one of them reads ahead.
        self.device = torch.empty(0, device=device).device
        self.matrices = [[p for p in m.parameters() if p.ndim > 1] for m in modules]
        self.mapped = [[p.data for p in matrices] for matrices in self.matrices]
        self.reader = ThreadPoolExecutor(1)
        self.taken: int | None = None
        self.coming: tuple[int, Future[list[Tensor]]] | None = None

    def take(self, number: int) -> None:
        before = self.taken
        if number == before:
            return
        if before is not None:
            self._put(before, self.mapped[before])
        if self.coming is None or self.coming[0] != number:
            self._read(number)
        self._put(number, self.coming[1].result())
        self.taken, self.coming = number, None
        backwards = before is not None and number == before - 1
        self._read(number + (-1 if backwards else 1))

    def _put(self, number: int, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.matrices[number], values, strict=True):
            parameter.data = value

    def _read(self, number: int) -> None:
        if 0 <= number < len(self.mapped):
            self.coming = number, self.reader.submit(self._copy, number)

    def _copy(self, number: int) -> list[Tensor]:
        return [matrix.to(self.device, copy=True) for matrix in self.mapped[number]]
