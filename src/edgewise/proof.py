"""The proof that a model was read rightly: with every edge kept, equation (1) is the model itself.

A small random batch, padded and with unequal prompts, goes through the model and through the masked
forward pass with every edge kept. In float32 the logits must agree within 1e-4 of the largest.

In 16 bits they can't, nor in float32 if a model is deep enough. Two exact ways of writing one sum
differ by a rounding (2^-8 of a value in bfloat16) at every step; thirty blocks amplify that on
random prompts to a quarter of the largest logit, and a router that chooses another expert to
anything. A bound as wide as that would let misread models pass. So there the blocks are proven one
by one, in float32: a float32 copy of one block at a time is given the stream that the model itself
had there, and what it returns must agree with what its readers and writers add up to, within the
same 1e-4 of what it adds. Nothing accumulates. Before the first block and after the last the
model's own code runs on the model's own values, which must agree within a few roundings.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from edgewise.ablation import heads_write
from edgewise.errors import ModelError
from edgewise.models.block import Block
from edgewise.models.model import Model, listener, read_block, without_mlp
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import Dense, accumulator
from edgewise.ops.read import read
from edgewise.stream import run

ALLOWED = 1e-4
ROUNDINGS = 8
SIXTEEN_BITS = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Proof:
    """What was found with every edge kept, on one small batch.

    logits   largest difference of a logit from the model's own, over the largest logit
    blocks   where that can't decide: largest difference of what a block adds, in float32, from what
             the model's own block adds, over the largest value that it adds
    ends     then: the like before the first block and after the last, in roundings
    """

    logits: float
    blocks: float | None = None
    ends: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the model is read rightly."""
        if self.blocks is None:
            return self.logits <= ALLOWED
        return self.blocks <= ALLOWED and self.ends <= ROUNDINGS

    def __str__(self) -> str:
        text = (
            f"logits with every edge kept differ from its own by {self.logits:.2g} of the largest"
        )
        if self.blocks is None:
            return f"{text} (allowed {ALLOWED:.0e})"
        return (
            f"a block with every edge kept, in float32, differs from its own by {self.blocks:.2g} "
            f"of what it adds (allowed {ALLOWED:.0e}), what is around the blocks by "
            f"{self.ends:.2g} roundings (allowed {ROUNDINGS}); {text}"
        )


def prove(model: Model, seed: int = 0) -> Proof:
    """The proof, on prompts drawn by `seed`; ModelError if it fails, or if the model's own logits
    aren't finite."""
    with torch.no_grad(), _full_products():
        ids, other, mask = _prompts(model, seed)
        proof = Proof(_logits_error(model, ids, other, mask))
        if not math.isfinite(proof.logits):
            _check_finite(model, ids, mask)
        if model.dtype in SIXTEEN_BITS or not proof.holds:
            proof = Proof(proof.logits, *_piece_by_piece(model, ids, mask))
    if not proof.holds:
        raise ModelError(
            f"{model.name}, read as {model.family.model_type!r}: {proof}. It isn't what its "
            "model_type says, or edgewise lacks a setting of it"
        )
    return proof


def _check_finite(model: Model, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> None:
    """ModelError if the model's own logits aren't finite."""
    if _own(model, ids, mask)[mask].isfinite().all():
        return
    check_weights(model.hf, model.name)
    wider = "bfloat16 or float32" if model.dtype == torch.float16 else "float64"
    raise ModelError(
        f"{model.name}: its logits aren't finite and its weights are: what it computes is too "
        f"large for {model.dtype_name}; try {wider}"
    )


def check_weights(hf: nn.Module, name: str) -> None:
    """ModelError for the first weight that isn't finite; buffers may be infinite, masks are."""
    for path, tensor in [*hf.named_parameters(), *hf.named_buffers()]:
        if tensor.isnan().any():
            raise ModelError(
                f"{name}: {path} holds NaN: the checkpoint is broken; take an earlier one, or "
                "download it again"
            )
        if isinstance(tensor, nn.Parameter) and tensor.isinf().any():
            raise ModelError(
                f"{name}: {path} holds infinity: the checkpoint is broken, or its numbers are too "
                f"large for {str(tensor.dtype).removeprefix('torch.')}; take another of either"
            )


def identity_error(model: Model, seed: int = 0) -> float:
    """Largest difference of a logit with every edge kept from the model's own, over the largest."""
    with torch.no_grad():
        return _logits_error(model, *_prompts(model, seed))


def _prompts(
    model: Model, seed: int
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    generator = torch.Generator().manual_seed(seed)
    ids, other = torch.randint(0, model.config.vocab_size, (2, 2, 6), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 4:] = False
    return ids.to(model.device), other.to(model.device), mask.to(model.device)


def _own(
    model: Model, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T V"]:
    given = {"attention_mask": mask.long(), "use_cache": False, "return_dict": True}
    return model.hf(input_ids=ids, **given).logits


def _logits_error(
    model: Model, ids: Int[Tensor, "B T"], other: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> float:
    own = _own(model, ids, mask)[mask]
    ours = run(model, ids, None, counterfactual_ids=other, attention_mask=mask)[mask]
    return _largest((ours - own).float() / own.abs().max())


def _piece_by_piece(
    model: Model, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[float, float]:
    """Errors of the blocks, in float32, and of what is around them, in roundings."""
    calls, streams, logits = _watched(model, ids, mask)
    tokens = Tokens.of(tuple(ids.shape), mask)
    blocks = [
        _block_error(model, block.module, *_wide(call), tokens)
        for block, call in zip(model.blocks, calls, strict=True)
    ]
    entry = sum(model.outer(ids, mask).embeddings)
    head = model.head(tokens.pack(streams[-1]))
    pairs = [(entry, tokens.pack(streams[0])), (head, tokens.pack(logits))]
    ends = [
        _largest((ours - own).float() / own.abs().max() / torch.finfo(own.dtype).eps)
        for ours, own in pairs
    ]
    return _largest(torch.tensor(blocks)), _largest(torch.tensor(ends))


def _watched(
    model: Model, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[list[tuple[tuple[Any, ...], dict[str, Any]]], list[Tensor], Tensor]:
    """The model's own run: the arguments of every block, the streams around blocks, the logits."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    streams: list[Tensor] = []

    def block(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))
        final(_, args, kwargs)

    def final(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        streams.append(args[0] if args else kwargs["hidden_states"])

    base = model.hf.base_model.get_submodule(model.family.base)
    modules = [(part.module, block) for part in model.blocks]
    modules.append((base.get_submodule(model.family.final_norm), final))
    handles = [m.register_forward_pre_hook(hook, with_kwargs=True) for m, hook in modules]
    try:
        logits = _own(model, ids, mask)
    finally:
        for handle in handles:
            handle.remove()
    return calls, streams, logits


def _block_error(model: Model, module: nn.Module, args: Any, kwargs: Any, tokens: Tokens) -> float:
    """Largest error of what a float32 copy of a block adds, over the largest value that it adds.

    A hundredth of a value in the stream counts beside that: to add to it rounds it.
    """
    whole = copy.deepcopy(module).to(accumulator(model.dtype))
    stream = args[0] if args else kwargs["hidden_states"]
    own = whole(*args, **kwargs)
    own = tokens.pack(own[0] if isinstance(own, tuple) else own)
    calls: list[Call] = []
    listener(whole, model.family, model.config, calls)(*args, **kwargs)
    block = read_block(whole, model.family, model.config, model.graph)
    x = tokens.pack(stream)
    ours = _every_edge(block, calls[0], tokens, x, x.roll(1, 0))
    return _largest((ours - own) / ((own - x).abs().max() + 0.01 * own.abs()))


def _every_edge(
    block: Block,
    call: Call,
    tokens: Tokens,
    x: Float[Tensor, "N D"],
    ablated: Float[Tensor, "N D"],
) -> Float[Tensor, "N D"]:
    """The stream after a block whose readers read all of x - x~, as one writer's, over x~."""
    ones = x.new_ones(block.n_readers, 1)
    base, change = block.centre(ablated), block.centre(x - ablated)
    p, square, *_ = read(base, Chunks.whole(change[None]), Dense(ones), block.folded())
    o = block.attend(block.project(p, square, block.offsets()), call, tokens)
    write = heads_write(block, *block.scaled(o))
    return x + write + block.mlp_write(x if block.parallel else x + write)


def prove_layout(model: Model) -> None:
    """ModelError unless every reader's rows of a projection are what the family says they are.

    Equation (1) with every edge kept can't see rows that change places; attention can. In prompt r,
    reader r's row is raised at the second of three tokens, over random queries, keys and values.
    Only the heads that share the row may change: by a query there alone, by a key or value there
    and later, and earlier where attention looks ahead; and twice as much by a value raised twice as
    much, but not by a key.
    """
    heads, groups = model.graph.n_heads, model.graph.n_kv_heads
    rows = torch.arange(heads + 2 * groups)
    query, key = rows < heads, (rows >= heads) & (rows < heads + groups)
    shared = torch.eye(groups).repeat_interleave(heads // groups, 1)
    mine = torch.cat([torch.eye(heads), shared, shared]).bool()  # (R, H)
    later = mine & ~query[:, None]
    earlier = later & model.looks_ahead
    expected = torch.stack([earlier, mine, later], 1)  # (R, T, H)
    with torch.no_grad(), _full_products():
        ids = torch.zeros(len(rows) + 1, 3, dtype=torch.long, device=model.device)
        outer = model.outer(ids)
        for layer, (block, call) in enumerate(zip(model.blocks, outer.calls, strict=True)):
            if model.dtype in SIXTEEN_BITS:
                whole = copy.deepcopy(without_mlp(block.module, model.family)).float()
                family = replace(model.family, mlp_out=None)
                block = read_block(whole, family, model.config, model.graph)
                call = call.mapped(_wide)
            found = [_moved(block, call, outer.tokens, seed) for seed in range(3)]
            moved, bent = (torch.stack(each).any(0) for each in zip(*found, strict=True))
            if model.graph.coupled:
                moved = moved & mine[:, None]
            wrong = (moved != expected).any(2).any(1) | (~query & (bent != key))
            if wrong.any():
                first = model.graph.attention_readers(layer).start + int(wrong.nonzero()[0])
                raise ModelError(
                    f"{model.name}: read as {model.family.model_type!r}, the rows of "
                    f"{model.graph.readers[first]} do not act as its own"
                )


def _moved(
    block: Block, call: Call, tokens: Tokens, seed: int
) -> tuple[Bool[Tensor, "R T H"], Bool[Tensor, " R"]]:
    """Which heads' outputs change where when a row is raised, and which rows act not linearly."""
    rows, channels = block.n_readers, block.head_dim
    generator = torch.Generator().manual_seed(seed)
    same = 0.5 * torch.randn(rows, 1, tokens.length, channels, generator=generator)
    raised = torch.linspace(1, 2, channels).repeat(rows, 1)
    values = slice(block.n_heads + block.n_kv_heads, None)
    same[values] /= 8  # out of reach of models that clip theirs
    raised[values] /= 8
    changes = []
    for size in (1.0, 2.0):
        qkv = same.repeat(1, tokens.batch, 1, 1)
        each = torch.arange(rows)
        qkv[each, each, 1] += size * raised
        o = block.attend(qkv.flatten(1, 2).to(block.out.weight), call, tokens)
        o = o.unflatten(0, (tokens.batch, tokens.length)).cpu()
        changes.append(o[:-1] - o[-1])
    once, twice = changes
    small = 1e-4 * once.abs().max()
    return once.abs().amax(-1) > small, (twice - 2 * once).abs().amax((1, 2, 3)) > small


def _wide(value: Any) -> Any:
    """All 16-bit tensors in `value` in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in SIXTEEN_BITS else value
    if isinstance(value, dict):
        return {key: _wide(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_wide(inner) for inner in value)
    return value


def _largest(errors: Tensor) -> float:
    """The largest magnitude; nan if there is one."""
    return errors.abs().max().item()


@contextmanager
def _full_products() -> Iterator[None]:
    """Products of float32 matrices in float32: TF32 keeps ten bits of theirs."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
