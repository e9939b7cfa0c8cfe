"""One transformer block as readers and writers, by the model's own submodules.

Reader side: q_h = norm(x) W_h + b_h for a read x, without its mean under a LayerNorm. With the
norm's gain g folded into the projection, all a reader needs of its wide input are a projection p
and one scalar (see `ops.read`):

    norm(x) W^T + b = p / scale + (W beta + b)         p = x (W g)^T

The readers of a model take the mean off all alike, or none does (`models.model`). So what writers
differ by is written without it in the first place (`Block.centre`), and readers needn't.

Writer side: with a head's output o_h, its slice W_h of the output projection and, where the block
ends in a post-norm, the scale r = 1 / rms(sum_h o_h W_h + b_O) of this run and its gain g,

    x_h = g (o_h r W_h + r b_O / H)

so every byte that the block adds to the stream belongs to one head.
Shapes: N tokens, H heads, G kv heads, C channels, D width.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.pytorch_utils import Conv1D

from edgewise.errors import ModelError
from edgewise.models.family import Family
from edgewise.models.shadow import Call, Feed, Sink
from edgewise.models.tokens import Tokens
from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import accumulator
from edgewise.ops.product import linears

SHORT = 64  # tokens of a prompt


def takes_mean_off(norm: nn.Module | None) -> bool:
    """Whether a norm is a LayerNorm, and not an RMSNorm or none at all."""
    return not isinstance(norm, nn.Identity | None) and "RMS" not in type(norm).__name__


@dataclass(frozen=True)
class Norm:
    """A norm's arithmetic: gain g, bias beta, epsilon."""

    module: nn.Module
    offset: float
    eps: float

    @classmethod
    def of(cls, module: nn.Module, family: Family) -> "Norm":
        names = [name for name in ("eps", "variance_epsilon") if hasattr(module, name)]
        eps = getattr(module, names[0]) if names else family.norm_eps
        if eps is None:
            raise ModelError(
                f"{family.model_type}: a {type(module).__name__} doesn't say its epsilon"
            )
        return cls(module, family.norm_offset, eps)

    @property
    def gain(self) -> Float[Tensor, " D"] | None:
        weight = getattr(self.module, "weight", None)
        if weight is None or not self.offset:
            return weight
        return weight.to(accumulator(weight.dtype)) + self.offset

    @property
    def bias(self) -> Float[Tensor, " D"] | None:
        return getattr(self.module, "bias", None)


@dataclass(frozen=True, eq=False)
class Block:
    """The parts of one block.

    `attention` is a shadow whose projections are feeds and a sink; `mlp` one whose last projection
    is `mlp_sink`, where it has an `mlp_out`.
    """

    module: nn.Module
    layout: str  # of a fused projection
    n_heads: int
    n_kv_heads: int
    head_dim: int
    parallel: bool
    scale: float  # of every write: the residual multiplier
    projections: tuple[nn.Module, ...]
    out: nn.Module
    attention: nn.Module
    feeds: tuple[Feed, ...]
    sink: Sink
    mlp: tuple[nn.Module, ...]
    mlp_out: nn.Module | None
    mlp_sink: Sink
    mlp_adds_stream: bool
    attention_norm: Norm | None
    mlp_norm: nn.Module | None
    attention_post_norm: Norm | None
    mlp_post_norm: nn.Module | None

    @property
    def n_readers(self) -> int:
        """R: the queries', keys' and values'."""
        return self.n_heads + 2 * self.n_kv_heads

    # --- reading -------------------------------------------------------------------------------

    def split_rows(self, rows: Float[Tensor, "..."]) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the output rows (O first) of a fused projection into q (H, C), k (G, C), v (G, C)."""
        heads, groups, channels = self.n_heads, self.n_kv_heads, self.head_dim
        rest = rows.shape[1:]
        if self.layout == "grouped":
            table = rows.reshape(groups, heads // groups + 2, channels, *rest)
            q = table[:, :-2].reshape(heads, channels, *rest)
            return q, table[:, -2], table[:, -1]
        table = rows.reshape(heads + 2 * groups, channels, *rest)
        return table[:heads], table[heads : heads + groups], table[heads + groups :]

    def fuse(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """What the projections would have returned for q (..., H, C), k and v (..., G, C)."""
        if len(self.projections) == 3:
            return [q.flatten(-2), k.flatten(-2), v.flatten(-2)]
        if self.layout == "concat":
            return [torch.cat([q.flatten(-2), k.flatten(-2), v.flatten(-2)], -1)]
        grouped = q.unflatten(-2, (self.n_kv_heads, -1))
        return [torch.cat([grouped, k.unsqueeze(-2), v.unsqueeze(-2)], -2).flatten(-3)]

    def _weights(self) -> list[Float[Tensor, "_ C D"]]:
        """Projection weights of the q, k and v readers, as views where the layout allows."""
        weights = [_matrix(projection) for projection in self.projections]
        if len(weights) == 3:
            return [weight.unflatten(0, (-1, self.head_dim)) for weight in weights]
        return list(self.split_rows(weights[0]))

    def _live_weights(self, live: Int[np.ndarray, " r"] | None) -> list[Float[Tensor, "_ C D"]]:
        weights = self._weights()
        if live is None:
            return weights
        ends = np.cumsum([0, *map(len, weights)])
        parts = np.split(live, np.searchsorted(live, ends[1:-1]))
        return [
            w if len(part) == len(w) else w[torch.from_numpy(part - first).to(w.device)]
            for w, part, first in zip(weights, parts, ends[:-1], strict=True)
        ]

    def folded(self, live: Int[np.ndarray, " r"] | None = None) -> Float[Tensor, "r C D"]:
        """Projections of the `live` readers (None: all), in order, with the norm's gain in them."""
        weights = self._live_weights(live)
        counts = [len(weight) for weight in weights]
        rows, (channels, width) = sum(counts), weights[0].shape[1:]
        stack = weights[0].new_empty(rows, channels, width)
        if stack.itemsize >= 4 or weights[0].stride(-1) != 1:
            # Channels last in memory, as Conv1D has them: MKL projects up to twice as fast, which
            # is worth turning others round. 16-bit products don't mind.
            stack = stack.view(rows, width, channels).transpose(1, 2)
        gain = self.attention_norm.gain if self.attention_norm else None
        for part, weight in zip(stack.split(counts), weights, strict=True):
            if gain is None:
                part.copy_(weight)
            elif weight.stride(-1) == 1 or weight.itemsize >= 4:
                torch.mul(weight, gain, out=part)
            else:  # multiplied into place, 64 channels at a time, it takes three times as long
                part.copy_(weight * gain)
        return stack

    @property
    def centred(self) -> bool:
        """Whether readers take the mean off what they see."""
        return self.attention_norm is not None and takes_mean_off(self.attention_norm.module)

    def centre(self, x: Float[Tensor, "*n D"]) -> Float[Tensor, "*n D"]:
        """What readers leave of a stream, or of what is added to it: a projection, which takes a
        gradient back as well."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def offsets(self, live: Int[np.ndarray, " r"] | None = None) -> Float[Tensor, "r C"]:
        """What a reader adds after its projection: the projection's bias and the folded norm's.

        Made anew from the weights for each run, like `folded`: they may have been changed
        meanwhile, and a write through `.data` can't be noticed.
        """
        weight = self.out.weight
        total = weight.new_zeros(self.n_readers, self.head_dim, dtype=accumulator(weight.dtype))
        if self.projections[0].bias is not None:
            biases = [projection.bias for projection in self.projections]
            fused = biases[0] if len(biases) == 1 else None
            parts = self.split_rows(fused) if fused is not None else biases
            total += torch.cat([part.reshape(-1, self.head_dim) for part in parts])
        total = total if live is None else total[torch.from_numpy(live).to(total.device)]
        if self.attention_norm and self.attention_norm.bias is not None:
            beta = self.attention_norm.bias.to(total.dtype)
            parts = [weight.to(total.dtype) @ beta for weight in self._live_weights(live)]
            total += torch.cat(parts)
        return total

    def project(
        self,
        p: Float[Tensor, "r N C"],
        square: Float[Tensor, "r N"],
        offsets: Float[Tensor, "r C"],
    ) -> Float[Tensor, "r N C"]:
        """Queries, keys and values from a read's projections and mean squares, and its readers'
        `offsets`."""
        norm = self.attention_norm
        out = p if norm is None else p * torch.rsqrt(square + norm.eps)[..., None]
        return (out + offsets[:, None]).to(p.dtype)

    def project_backward(
        self,
        square: Float[Tensor, " N"],
        offsets: Float[Tensor, "R C"],
        qkv: Float[Tensor, "R N C"],
        dqkv: Float[Tensor, "R N C"],
    ) -> tuple[Float[Tensor, "R N C"], Float[Tensor, "R N"]]:
        """Gradients of `project`'s inputs, from what it returned where all reads are alike."""
        norm = self.attention_norm
        if norm is None:
            return dqkv, torch.zeros_like(dqkv[..., 0])
        scale = torch.rsqrt(square + norm.eps)
        along = (dqkv * (qkv - offsets[:, None])).sum(-1)
        return (dqkv * scale[:, None]).to(qkv.dtype), -0.5 * scale.square() * along

    def qkv(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "R N C"]:
        """Queries, keys and values when every reader sees the same x, by the model's modules."""
        h = self.attention_norm.module(x) if self.attention_norm else x
        with linears(x):
            outputs = [projection(h) for projection in self.projections]
        if len(outputs) == 3:
            parts = [output.unflatten(-1, (-1, self.head_dim)) for output in outputs]
            return torch.cat(parts, 1).transpose(0, 1)
        return torch.cat([part.transpose(1, 2) for part in self.split_rows(outputs[0].t())])

    def attend(
        self, qkv: Float[Tensor, "R N C"], call: Call, tokens: Tokens
    ) -> Float[Tensor, "N H C"]:
        """The model's own attention on given queries, keys and values, before W_O."""
        padded = tokens.unpack(qkv.transpose(0, 1))
        parts = padded.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], -2)
        for feed, value in zip(self.feeds, self.fuse(*parts), strict=True):
            feed.value = value
        with _kernels(padded):
            call.replay(self.attention, qkv)
        o, self.sink.value = self.sink.value, None
        for feed in self.feeds:
            feed.value = None
        return tokens.pack(o).unflatten(-1, (self.n_heads, self.head_dim))

    # --- writing -------------------------------------------------------------------------------

    @property
    def out_weight(self) -> Float[Tensor, "H C D"]:
        """Each head's slice of W_O, as written: post-norm gain and multiplier included."""
        weight = _matrix(self.out).t().unflatten(0, (self.n_heads, self.head_dim))
        if self.attention_post_norm and self.attention_post_norm.gain is not None:
            weight = (weight * self.attention_post_norm.gain).to(weight.dtype)
        return weight if self.scale == 1.0 else weight * self.scale

    def head_weights(self, heads: Int[Tensor, " h"] | None = None) -> Float[Tensor, "h C D"]:
        """`out_weight` of some heads (None: all) as readers see it, for products with one chunk
        after another.

        PyTorch would copy 16-bit ones for each of these products, unless every head's are in one
        stretch; which way round they lie there doesn't matter, so they stay as they are, with
        their channels last in a linear layer.
        """
        weight = self.out_weight
        turned = weight.stride(-1) != 1
        if turned:
            weight = weight.transpose(1, 2)
        if heads is not None:
            weight = weight.index_select(0, heads)
        elif weight.itemsize < 4:
            weight = weight.contiguous()
        return self.centre(weight.transpose(1, 2) if turned else weight)

    @property
    def out_bias(self) -> Float[Tensor, " D"] | None:
        """One head's equal share of the output projection's bias, as written."""
        if self.out.bias is None:
            return None
        bias = self.out.bias * (self.scale / self.n_heads)
        if self.attention_post_norm and self.attention_post_norm.gain is not None:
            bias = (bias * self.attention_post_norm.gain).to(bias.dtype)
        return bias

    @property
    def head_bias(self) -> Float[Tensor, " D"] | None:
        """`out_bias` as readers see it."""
        bias = self.out_bias
        return None if bias is None else self.centre(bias)

    def writes(
        self,
        change: Float[Tensor, "h N C"],
        scale: Float[Tensor, " N"] | float,
        heads: Int[Tensor, " h"] | None,
        out: Chunks,
    ) -> None:
        """Put what each of the `heads` (None: all) writes in one run, less what it writes in
        another, into `out`; without its mean where readers take it off.

        change    by how much their outputs before W_O, times the post-norm's scale, differ
        scale     by how much that scale does
        """
        weight, bias = self.head_weights(heads), self.head_bias
        for at, written in out:
            torch.bmm(change[:, at], weight, out=written)
            if bias is not None and isinstance(scale, Tensor):
                written += scale[at, None] * bias
            elif bias is not None and scale:
                written += scale * bias

    def scaled(
        self, o: Float[Tensor, "N H C"]
    ) -> tuple[Float[Tensor, "N H C"], Float[Tensor, " N"] | float]:
        """Head outputs times a post-norm's scale r = 1 / rms of the heads' sum, and that; 1.0
        without a post-norm."""
        norm = self.attention_post_norm
        if norm is None:
            return o, 1.0
        total = self.out(o.flatten(1))
        total = total.to(accumulator(total.dtype))
        r = torch.rsqrt(total.square().mean(-1) + norm.eps).to(o.dtype)
        return o * r[:, None, None], r

    def mlp_write(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """What the MLP adds to the stream when it reads x."""
        y = self.mlp_hidden(x)
        if self.mlp_out is not None:
            with linears(y):
                y = self.mlp_out(y)
        if self.mlp_post_norm is not None:
            y = self.mlp_post_norm(y)
        return y if self.scale == 1.0 else y * self.scale

    def mlp_hidden(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N I"]:
        """What its last projection is given then; what it returns, if it has no such projection."""
        h = (x if self.mlp_norm is None else self.mlp_norm(x))[None]
        more = (torch.zeros_like(h),) if self.mlp_adds_stream else ()
        with linears(h):
            y = self.mlp[0](h, *more)
            for module in self.mlp[1:]:
                y = module(y)
        if self.mlp_out is not None:
            y, self.mlp_sink.value = self.mlp_sink.value, None
        return (y[0] if isinstance(y, tuple) else y).reshape(len(x), -1)

    @property
    def mlp_out_weight(self) -> Float[Tensor, "D I"] | None:
        """The matrix that takes `mlp_hidden` to what is added, but for a bias; None without one."""
        if self.mlp_post_norm is not None or not isinstance(self.mlp_out, nn.Linear | Conv1D):
            return None
        weight = _matrix(self.mlp_out)
        return weight if self.scale == 1.0 else weight * self.scale


def _kernels(padded: Float[Tensor, "B T ..."]) -> AbstractContextManager[None]:
    """What computes `scaled_dot_product_attention`, where the choice isn't best left to torch.

    A CPU's fused kernel takes two to five times as long as plain matrix products to differentiate
    short prompts.
    """
    short = padded.device.type == "cpu" and padded.shape[1] <= SHORT
    if short and torch.is_grad_enabled():
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _matrix(projection: nn.Module) -> Float[Tensor, "O I"]:
    """A projection's weight with its outputs as rows, whichever way the module stores it."""
    return projection.weight.t() if isinstance(projection, Conv1D) else projection.weight
