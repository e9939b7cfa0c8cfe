"""A model whose blocks' weights several processes share: `fully_shard` of PyTorch (FSDP2).

Each process holds its slice of every block's matrices, and whole only the block that is in use and
the one that comes next, which is gathered meanwhile. The engine asks for blocks one at a time
(`models.blocks`), so there are no hooks around modules. Weights are frozen: they are gathered and
never reduced. Vectors (norms, biases) and what is around the blocks (embeddings, head) stay whole
in every process.

All processes share the prompts (`tasks.shares`); those of one row of the mesh share the weights.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from edgewise import runtime
from edgewise.errors import ConfigError
from edgewise.models.blocks import Blocks, move
from edgewise.models.model import Model


def mesh_of(shards: int, device: str | torch.device) -> DeviceMesh:
    """All processes in rows of `shards` neighbours; ConfigError if they don't come out even."""
    processes = runtime.world_size()
    if processes == 1:
        raise ConfigError(
            f"shards={shards}: there is one process, which has all weights; "
            "`torchrun --nproc-per-node N` starts N"
        )
    if shards < 2 or processes % shards:
        raise ConfigError(
            f"weights can't be shared by {shards} of {processes} processes: take a divisor of "
            f"{processes}, 2 or more; `torchrun --nproc-per-node N` starts N processes"
        )
    kind = torch.device(device).type
    with runtime.together():
        if shards == processes:
            return init_device_mesh(kind, (shards,), mesh_dim_names=("shard",))
        shape = (processes // shards, shards)
        return init_device_mesh(kind, shape, mesh_dim_names=("replicate", "shard"))


def shard(model: Model, mesh: DeviceMesh, dtype: torch.dtype | None = None) -> Model:
    """The model with the weights of its blocks shared along the mesh, on the mesh's device.

    dtype    of the weights; as they are unless given

    Block by block, so that the weights may be mapped from a file and no process ever holds all of
    them. They are taken from `model`, which can't be used any more.
    """
    for block in model.blocks.parts:
        move(block.module, mesh.device_type, dtype)
        vectors = {p for p in block.module.parameters() if p.ndim < 2}
        fully_shard(block.module, mesh=mesh, ignored_params=vectors)
    shared = {p for p in model.hf.parameters() if isinstance(p, DTensor)}
    move(model.hf, mesh.device_type, dtype, but=shared)
    parts = model.blocks.parts
    return replace(model, blocks=Blocks(parts, _Gathering([block.module for block in parts])))


class _Gathering:
    """A `Keeper` that gathers a block when it is taken, and its neighbour ahead of time."""

    def __init__(self, modules: Sequence[FSDPModule]):
        self.modules = modules
        self.taken: int | None = None
        self.coming: int | None = None

    def take(self, number: int) -> None:
        with runtime.together():
            if number == self.taken:
                self.modules[number].unshard()  # again, if a state dict sent it back
                return
            backwards = self.taken is not None and number == self.taken - 1
            for other in {self.taken, self.coming} - {None, number}:
                self.modules[other].unshard()  # a gathering can't be left half done
                self.modules[other].reshard()
            self.modules[number].unshard()
            self.taken, self.coming = number, number + (-1 if backwards else 1)
            if 0 <= self.coming < len(self.modules):
                self.modules[self.coming].unshard(async_op=True)
            else:
                self.coming = None
