"""MLPs, a slice of tokens at a time: what they write, and the gradient of what they read.

Hidden activations are several times as wide as what an MLP reads and writes, and exist of one slice
only. Where there was no room to keep their graph, the backward pass computes them again. It needn't
compute what the last projection makes of them, whose gradient is a product with its matrix.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from edgewise.counting import storage_bytes
from edgewise.models.block import Block
from edgewise.ops.chunks import joined
from edgewise.ops.product import product
from edgewise.ops.slices import even

TOKENS = 512  # of a slice, at most: with fewer, products are slow


def mlp_write(block: Block, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """What an MLP writes."""
    return joined([block.mlp_write(part) for part in x.split(even(len(x), TOKENS))])


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
    parts, weight, tokens = [], block.mlp_out_weight, even(len(x), TOKENS)
    for read_at, grad in zip(x.split(tokens), dwrite.split(tokens), strict=True):
        leaf = read_at.detach().requires_grad_()
        with torch.enable_grad():
            again = block.mlp_write(leaf) if weight is None else block.mlp_hidden(leaf)
        parts += torch.autograd.grad(again, leaf, grad if weight is None else product(grad, weight))
    return joined(parts)
