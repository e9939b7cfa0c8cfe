"""Several processes as one: who am I, what does the main process say, what is the sum.

In one process every function is the identity, so code is written once. In a job of `torchrun`
(`connected`), or in any process group that is initialised, they speak through `torch.distributed`:
nccl between GPUs, gloo else. Every process must call the same functions in the same order.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from edgewise.errors import LostProcessError

PATIENCE = timedelta(minutes=30)  # for the others: the main process may be converting a model


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _connected() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this process writes files and speaks to the user."""
    return rank() == 0


def launched() -> bool:
    """Whether `torchrun`, or its like, started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def connected(device: str | torch.device | None = None) -> Iterator[None]:
    """Meets the other processes that `torchrun` started, if it did; leaves them at the end.

    Each process of a machine takes the GPU of its number there. They meet through gloo if `device`
    is "cpu" or there is no GPU, else through nccl. A process group that is there already is used.
    """
    if not launched() or _connected():
        yield
        return
    on_gpu = torch.cuda.is_available() and torch.device(device or "cuda").type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with together():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    yield
    # Not after an error: the others may never come here, and torchrun ends them.
    dist.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """What is inside speaks with the other processes: LostProcessError if one doesn't answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        line = str(error).strip().partition("\n")[0]
        reason = re.sub(r"^\[\S+:\d+\] ", "", line).partition(". ")[0]  # less a place in gloo
        raise LostProcessError(
            f"another process of this run ended or didn't answer ({reason}). Its own message, or "
            "torchrun's, says why. The same command, with any number of processes, goes on from "
            "the last checkpoint"
        ) from error


def total(tensor: Tensor) -> Tensor:
    """The sum of every process's tensor, the same bits in each; `tensor` itself is left as it is.

    Every process gives one of the same shape and dtype.
    """
    if world_size() == 1:
        return tensor
    there = _carried(tensor, copy=True)
    with together():
        dist.all_reduce(there)
    return there.to(tensor.device)


def largest(number: int) -> int:
    """The largest of every process's number."""
    return max(int(one) for one in gather(torch.tensor([number])))


def from_main(tensor: Tensor) -> Tensor:
    """The main process's tensor; every process gives one of the same shape and dtype."""
    if world_size() == 1:
        return tensor
    there = _carried(tensor, copy=True)
    with together():
        dist.broadcast(there, 0)
    return there.to(tensor.device)


def number_from_main(number: int) -> int:
    """The main process's number."""
    return int(from_main(torch.tensor(number)))


def text_from_main(text: str) -> str:
    """The main process's text."""
    if world_size() == 1:
        return text
    content = torch.tensor(list(text.encode()), dtype=torch.uint8)
    length = number_from_main(len(content))
    given = content if is_main() else torch.empty(length, dtype=torch.uint8)
    return bytes(from_main(given).tolist()).decode()


def gather(tensor: Tensor) -> tuple[Tensor, ...]:
    """Every process's tensor, in order; they may differ in length, the first dimension."""
    if world_size() == 1:
        return (tensor,)
    mine = torch.tensor([len(tensor)])
    lengths = [int(one) for one in _gathered(mine)]
    padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    found = _gathered(padded)
    return tuple(one[:length] for one, length in zip(found, lengths, strict=True))


def joined(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each array of numbers with every process's, in order; float64. They may differ in length."""
    if world_size() == 1:
        return list(arrays)
    lengths = gather(torch.tensor([len(one) for one in arrays]))
    contents = gather(torch.from_numpy(np.concatenate(arrays).astype(np.float64)))
    parts = [
        content.split(length.tolist()) for content, length in zip(contents, lengths, strict=True)
    ]
    return [torch.cat(one).numpy() for one in zip(*parts, strict=True)]


@contextmanager
def main_only() -> Iterator[bool]:
    """True in the main process, False in the others, which go on when it is through.

    LostProcessError in the others if what the main process did raised.
    """
    if world_size() == 1:
        yield is_main()
        return
    done = torch.zeros(1)
    try:
        yield is_main()
        done += 1
    finally:
        done = from_main(done)
    if not done:
        raise LostProcessError("the main process has stopped: its message says why")


def _gathered(tensor: Tensor) -> list[Tensor]:
    there = _carried(tensor)
    found = [torch.empty_like(there) for _ in range(world_size())]
    with together():
        dist.all_gather(found, there)
    return [one.to(tensor.device) for one in found]


def _carried(tensor: Tensor, copy: bool = False) -> Tensor:
    """`tensor` where the process group can read it: nccl sees GPUs alone, gloo the CPU."""
    place = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return tensor.detach().to(place, copy=copy).contiguous()


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()
