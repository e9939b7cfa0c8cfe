"""Products of float32 matrices on CPUs that MKL, which PyTorch multiplies them with, serves badly.

MKL uses AVX-512 on Intel's processors alone. oneDNN, which PyTorch has too (for bfloat16, and for
what its compiler makes), uses it wherever it is, and takes as little as half the time there. It
reads matrices in one stretch of memory; others, and small ones, for which it would make a kernel of
their shape first, are MKL's. Weights get no gradient.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

CPUINFO = Path("/proc/cpuinfo")
ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # None: not in this PyTorch
OPERATIONS = 1 << 26  # of a product, at least: about as long as making a kernel takes


def product(a: Float[Tensor, "n K"], b: Float[Tensor, "K m"]) -> Float[Tensor, "n m"]:
    """a @ b, without a graph."""
    return _by_onednn(a, b.t()) if suits(a, b.t()) else a @ b


def put_product(
    a: Float[Tensor, "r K"],
    b: Float[Tensor, "K n D"],
    into: Sequence[tuple[slice, Float[Tensor, "r _ D"]]],
) -> None:
    """a @ b, of which each part of the n goes `into` memory of its own."""
    if suits(a, b.flatten(1).t()):
        found = _by_onednn(a, b.flatten(1).t()).unflatten(1, b.shape[1:])
        for at, out in into:
            out.copy_(found[:, at])
    else:
        for at, out in into:
            torch.mm(a, b[:, at].flatten(1), out=out.flatten(1))


def add_product(
    a: Float[Tensor, "n K"], b: Float[Tensor, "K m"], out: Float[Tensor, "n m"]
) -> None:
    """out += a @ b"""
    if suits(a, b.t()):
        out.add_(_by_onednn(a, b.t()))
    elif len(b):
        out.addmm_(a, b)


def linear(
    x: Float[Tensor, "*n K"],
    weight: Float[Tensor, "m K"],
    bias: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "*n m"]:
    """`torch.nn.functional.linear`; its gradient is that of x alone."""
    if not suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Linear.apply(x, weight, bias)
    return _by_onednn(x, weight, bias)


def linears(like: Tensor) -> AbstractContextManager[Any]:
    """Within it, linear layers of any module multiply as `linear` does."""
    return _Linears() if _served_badly(like) else nullcontext()


class _Linears(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is nn.functional.linear and not kwargs:
            return linear(*args)
        if func is torch.addmm and not kwargs and args[0].ndim == 1:  # Conv1D, GPT-2's
            bias, x, weight = args
            return linear(x, weight.t(), bias)
        return func(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return linear(dy.contiguous(), weight.t()), None, None


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return ONEDNN(x, weight, bias, "none", [], "")


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether `linear` of these is oneDNN's."""
    return (
        _served_badly(x)
        and weight.dtype == x.dtype
        and type(weight) in (Tensor, nn.Parameter)
        and 2 * x.numel() * len(weight) >= OPERATIONS
        and x.is_contiguous()
        and (weight.is_contiguous() or weight.t().is_contiguous())
    )


def _served_badly(like: Tensor) -> bool:
    return like.device.type == "cpu" and like.dtype == torch.float32 and mkl_lags()


@cache
def mkl_lags() -> bool:
    """Whether MKL leaves this processor's AVX-512 alone, and oneDNN is there."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and ONEDNN is not None
        and processor("vendor_id") not in ("", "GenuineIntel")
    )


def processor(field: str) -> str:
    """What the system says of the first processor; "" where it doesn't."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
