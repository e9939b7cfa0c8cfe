"""A name for a model's weights: equal weights give equal fingerprints, on any device.

SHA-256 over each tensor of the state dict, in order of name: its name, dtype and shape, the sum of
all its bit patterns read as integers (mod 2^64, so exact in any order of summation), and the bit
patterns of up to 256 evenly spaced elements. The sum sees any single change, the samples see
elements that traded places. It tells weights apart; it is no defence against a forger.
"""

import hashlib

import torch
from torch import Tensor, nn

from edgewise import runtime

SAMPLES = 256
CHUNK = 1 << 22  # elements widened to 64 bits at a time

_PATTERN = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def weights_fingerprint(hf_model: nn.Module) -> str:
    """64 hex digits. The same weights in another dtype are other weights."""
    digest = hashlib.sha256()
    state = hf_model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach()
        if hasattr(tensor, "full_tensor"):  # its pieces are in several processes
            with runtime.together():
                tensor = tensor.full_tensor()
        total, samples = _summary(tensor)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {total} {samples}\n".encode())
    return digest.hexdigest()


@torch.no_grad()
def _summary(tensor: Tensor) -> tuple[int, list[int]]:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    bits = tensor.reshape(-1).view(_PATTERN[tensor.element_size()])
    if not len(bits):
        return 0, []
    total = sum(int(chunk.sum(dtype=torch.int64)) for chunk in bits.split(CHUNK))
    stride = -(-len(bits) // SAMPLES)
    return total % 2**64, bits[::stride].tolist()
