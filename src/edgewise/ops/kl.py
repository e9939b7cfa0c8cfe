"""KL(full || circuit) over the vocabulary, in nats and float32, a few rows at a time.

    KL = sum_v p_v (log p_v - log q_v)        dKL / dlogit_v = q_v - p_v

of p the full model's distribution and q the circuit's.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

ROW_BYTES = 1 << 20  # of one of the float32 copies, at most
PARTS = 8  # at least, if there are as many rows: few prompts take little memory else


def kl_rows(
    full: Float[Tensor, "A V"],
    circuit: Float[Tensor, "A V"],
    token_set: Int[Tensor, " K"] | None = None,
) -> Float[Tensor, " A"]:
    """The KL of each row.

    With a `token_set`, over its tokens alone, renormalised. Differentiable in `circuit`, once. Rows
    are taken in chunks so that float32 copies of bfloat16 logits of a large vocabulary never exist
    all at once.
    """
    if token_set is not None:
        full, circuit = full[:, token_set], circuit[:, token_set]
    return _KL.apply(circuit, full)


class _KL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, circuit: Tensor, full: Tensor) -> Tensor:
        slope = torch.empty_like(circuit) if ctx.needs_input_grad[0] else None
        rows = circuit.new_empty(len(circuit), dtype=torch.float32)
        most = ROW_BYTES // max(1, 4 * circuit.shape[-1])
        step = max(1, min(most, len(circuit) // PARTS))
        for i in range(0, len(circuit), step):
            part = slice(i, i + step)
            log_p, log_q = (t[part].float().log_softmax(-1) for t in (full, circuit))
            p = log_p.exp()
            rows[part] = torch.linalg.vecdot(p, log_p.sub_(log_q))
            if slope is not None:
                slope[part] = log_q.exp_().sub_(p)
        ctx.save_for_backward(slope)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, drows: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return (slope * drows[:, None]).to(slope.dtype), None
