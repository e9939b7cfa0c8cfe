"""Several processes as one: who am I, wait for the others, agree on a mean.

In one process every function is the identity, so code is written once; in a job of `torchrun` whose
process group is initialised (gloo or nccl) they speak through `torch.distributed`.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _connected() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this process writes files and speaks to the user."""
    return rank() == 0


def barrier() -> None:
    """Returns once every process has come here."""
    if not _connected():
        return
    on_gpu = dist.get_backend() == "nccl"
    dist.barrier(device_ids=[torch.cuda.current_device()] if on_gpu else None)


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """The mean of every process's tensor, the same bits in each; `tensor` itself is left as it is.

    Every process gives one of the same shape and dtype.
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / world_size()


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()
