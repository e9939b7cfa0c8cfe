"""The gradient of an MLP's input: of its graph where that was kept, else of another forward.

An MLP's hidden activations are several times as wide as what it reads and writes, so a backward
pass that computes them again, a slice of tokens at a time, needs the memory of one slice only. It
needn't compute what the last projection makes of them, whose gradient is a product with its matrix.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from edgewise.counting import storage_bytes
from edgewise.models.block import Block

TOKENS = 128  # whose hidden activations exist at a time


def mlp_graph(block: Block, x: Float[Tensor, "n D"]) -> tuple[Float[Tensor, "n D"], int]:
    """What an MLP writes with its graph back to x, and the bytes that the graph keeps."""
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        write = block.mlp_write(x.requires_grad_())
    weights = storage_bytes(block.module.parameters())
    return write, storage_bytes([*block.module.parameters(), *saved]) - weights


def mlp_backward(
    block: Block,
    x: Float[Tensor, "n D"],
    dwrite: Float[Tensor, "n D"],
    write: Float[Tensor, "n D"] | None = None,
) -> Float[Tensor, "n D"]:
    """Gradient of what an MLP read from that of what it wrote.

    write    that, with its graph back to x; None: computed again, a slice of tokens at a time
    """
    if write is not None:
        return torch.autograd.grad(write, x, dwrite)[0]
    parts, weight = [], block.mlp_out_weight
    for read_at, grad in zip(x.split(TOKENS), dwrite.split(TOKENS), strict=True):
        leaf = read_at.detach().requires_grad_()
        with torch.enable_grad():
            again = block.mlp_write(leaf) if weight is None else block.mlp_hidden(leaf)
        parts += torch.autograd.grad(again, leaf, grad if weight is None else grad @ weight)
    return torch.cat(parts)
