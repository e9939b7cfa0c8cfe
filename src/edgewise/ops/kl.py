"""KL(full || circuit) over the vocabulary, in nats and float32, a few rows at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROW_BYTES = 64 << 20


def kl_rows(
    full: Float[Tensor, "A V"],
    circuit: Float[Tensor, "A V"],
    token_set: Int[Tensor, " K"] | None = None,
) -> Float[Tensor, " A"]:
    """sum_v p_full (log p_full - log p_circuit) for each row.

    With a `token_set`, over its tokens alone, renormalised. Differentiable in `circuit`. Rows are
    taken in chunks so that float32 copies of bfloat16 logits of a large vocabulary never exist all
    at once in the forward pass.
    """
    if token_set is not None:
        full, circuit = full[:, token_set], circuit[:, token_set]
    step = max(1, ROW_BYTES // max(1, 4 * full.shape[-1]))
    parts = []
    for i in range(0, full.shape[0], step):
        log_p = full[i : i + step].float().log_softmax(-1)
        log_q = circuit[i : i + step].float().log_softmax(-1)
        parts.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(parts) if parts else full.new_zeros(0, dtype=torch.float32)
