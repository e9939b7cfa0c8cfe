"""The ablated run: what writers write, x~_w, and readers see, x~_r, without the circuit.

    interchange   the model's run on the paired corrupted prompt
    mean          every writer writes its mean over a reference set, per position or over positions
    zero          nothing is written

Under each, x~_r is the running sum of the x~_w: an absent edge contributes its writer's ablated
write.

A token of a model that looks back alone is what it and those before it make it. One that several
prompts of a batch begin with is computed once for all. And up to the first token in which a prompt
differs from its corrupted one every x_w is x~_w, in any masked run too: there only the tokens from
that one on, where they have `parted`, need be computed.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import GEN_CREATED, getgeneratorstate
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from edgewise.errors import ConfigError, DataError
from edgewise.mlp import mlp_write
from edgewise.models.block import Block
from edgewise.models.model import Model, Outer
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.ops.product import linear

Ablation = Literal["interchange", "mean", "zero"]


def taken(
    t: Float[Tensor, "N ..."] | float, at: Int[Tensor, " n"] | None
) -> Float[Tensor, "n ..."] | float:
    """`t` at some tokens (None: all); a number is the same at each."""
    # Indexing with brackets has a slow backward pass, which adds up what may be the same place.
    return t if at is None or isinstance(t, float) else t.index_select(0, at)


def spread(
    t: Float[Tensor, "m D"], at: Int[Tensor, " m"] | None, count: int
) -> Float[Tensor, "N D"]:
    """Values at some of `count` tokens (None: at all), and NaN elsewhere."""
    return t if at is None else t.new_full((count, t.shape[1]), torch.nan).index_copy_(0, at, t)


@dataclass(frozen=True, eq=False)
class LayerState:
    """A run at one block; of some tokens alone where only they were computed, but for `qkv`.

    base_attention, base_mlp   the stream where the heads and where the MLP read
    qkv                        queries, keys and values there, before anything that attention does
                               to them
    heads                      head outputs before W_O, times the post-norm's scale
    scale                      that scale: 1.0 without a post-norm, 0.0 where nothing is written
    mlp                        what the MLP wrote
    """

    base_attention: Float[Tensor, "N D"]
    qkv: Float[Tensor, "R all C"]
    heads: Float[Tensor, "N H C"]
    scale: Float[Tensor, " N"] | float
    base_mlp: Float[Tensor, "N D"]
    mlp: Float[Tensor, "N D"]


def at_tokens(state: LayerState, own: Int[Tensor, " n"] | None) -> LayerState:
    """A state at some tokens alone (None: all), but for `qkv`."""
    if own is None:
        return state
    fields = vars(state).items()
    return LayerState(**{name: v if name == "qkv" else taken(v, own) for name, v in fields})


@dataclass(frozen=True, eq=False)
class AblatedRun:
    """Embedding writes, each block's state in order, and the end.

    layers   made as they are asked for, once, or held in a tuple, which can be read again
    final    filled in when the last layer has been taken
    """

    kind: Ablation
    embeddings: tuple[Float[Tensor, "N D"], ...]
    layers: Iterable[LayerState]
    final: list[Float[Tensor, "N D"]]

    def states(self) -> Iterator[LayerState]:
        """The layers from the first; RuntimeError if they were made once and are gone."""
        layers = self.layers
        if isinstance(layers, Generator) and getgeneratorstate(layers) != GEN_CREATED:
            raise RuntimeError(
                "this ablated run was used already, and its layers are made once: make another "
                "one, or hold a fresh one with dataclasses.replace(run, layers=tuple(run.layers))"
            )
        return iter(layers)


def plain(
    model: Model,
    outer: Outer,
    final: list[Tensor],
    write: Callable[[Block, Tensor], Tensor] = mlp_write,
    own: Int[Tensor, " n"] | None = None,
    others: Iterable[LayerState] = (),
    ends: Int[Tensor, " m"] | None = None,
) -> Iterator[LayerState]:
    """The unmasked model on packed tokens, block by block; the last stream goes to `final`.

    own    the tokens to compute (None: all); attention sees all of them, in `others` if not here
    ends   those of them whose last stream is needed, each once (None: all); elsewhere that is NaN,
           and so is what the last MLP reads and writes
    """
    stream, others = taken(sum(outer.embeddings[1:], outer.embeddings[0]), own), iter(others)

    def through(block: Block, call: Call, at: Int[Tensor, " m"] | None) -> list[Any]:
        qkv = block.qkv(stream)
        if own is not None:
            qkv = next(others).qkv.index_copy(1, own, qkv)
        o = taken(block.attend(qkv, call, outer.tokens), own)
        scaled, scale = block.scaled(o)
        before = taken(stream, at)
        after = before + heads_write(block, taken(scaled, at), taken(scale, at))
        base_mlp = before if block.parallel else after
        mlp = write(block, base_mlp)
        base_mlp, mlp, end = (
            spread(each, at, len(stream)) for each in (base_mlp, mlp, after + mlp)
        )
        return [LayerState(stream, qkv, scaled, scale, base_mlp, mlp), end]

    last = model.graph.n_layers - 1
    for number, (block, call) in enumerate(zip(model.blocks, outer.calls, strict=True)):
        passed = through(block, call, ends if number == last else None)
        stream = passed.pop()
        yield passed.pop()  # and hold it no longer than whoever asked
    final.append(stream)


def heads_write(
    block: Block, scaled: Float[Tensor, "N H C"], scale: Float[Tensor, " N"] | float
) -> Float[Tensor, "N D"]:
    """What all heads of a block add to the stream together."""
    total = linear(scaled.flatten(1), block.out_weight.flatten(0, 1).t())
    if block.out_bias is not None:
        bias = block.out_bias * block.n_heads
        total = total + (bias if isinstance(scale, float) else scale[:, None] * bias)
    return total


def interchange(
    model: Model,
    counterfactual_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"] | None = None,
    ends: Int[Tensor, " m"] | None = None,
) -> AblatedRun:
    """The model's run on the corrupted prompts, made block by block as it is asked for; `ends` as
    in `plain`."""
    return _of_the_first(model, [counterfactual_ids], attention_mask, ends)[0]


def beside(
    model: Model,
    input_ids: Int[Tensor, "B T"],
    counterfactual_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"] | None = None,
    ends: Int[Tensor, " m"] | None = None,
) -> tuple[AblatedRun, list[Float[Tensor, "N D"]]]:
    """`interchange`, and the full model on the clean prompts in the same batch: weights are gone
    through once for both. The list gets its last stream when the last layer has been taken."""
    return _of_the_first(model, [counterfactual_ids, input_ids], attention_mask, ends)


def _of_the_first(
    model: Model,
    prompts: Sequence[Int[Tensor, "B T"]],
    attention_mask: Bool[Tensor, "B T"] | None,
    ends: Int[Tensor, " m"] | None,
) -> tuple[AblatedRun, list[Float[Tensor, "N D"]]]:
    """The run on the first of one or two sets of prompts, and the last stream on the second."""
    ids = torch.cat(list(prompts))
    mask = None if attention_mask is None else attention_mask.repeat(len(prompts), 1)
    outer, shown = model.outer(ids, mask), None
    n, whole = outer.tokens.count // len(prompts), outer.tokens.count
    if ends is not None:
        ends = torch.cat([ends + n * number for number in range(len(prompts))])
    if not model.looks_ahead:
        tokens, kept, shown = outer.tokens.distinct(ids)
        if len(kept) == whole:
            shown = None
        else:
            writes = tuple(e[kept] for e in outer.embeddings)
            outer = replace(outer, tokens=tokens, embeddings=writes)
            ends = None if ends is None else shown[ends].unique()
    both: list[Tensor] = []
    final: list[Tensor] = []
    others: list[Tensor] = []

    def first(value: Tensor | float, axis: int = 0) -> Any:
        """The first prompts' part, by itself: a view would hold the others' memory too."""
        if not isinstance(value, Tensor) or (shown is None and n == whole):
            return value
        if shown is None:
            return value.narrow(axis, 0, n).clone()
        return value.index_select(axis, shown[:n])

    def ours(state: LayerState) -> LayerState:
        fields = vars(state).items()
        return LayerState(**{name: first(v, 1 if name == "qkv" else 0) for name, v in fields})

    def layers() -> Iterator[LayerState]:
        yield from map(ours, plain(model, outer, both, ends=ends))
        (last,) = both
        final.append(first(last))
        others.append(last[n:] if shown is None else last[shown[n:]])

    return AblatedRun("interchange", tuple(map(first, outer.embeddings)), layers(), final), others


def parted(
    model: Model,
    tokens: Tokens,
    ours: Sequence[Float[Tensor, "N D"]],
    theirs: Sequence[Float[Tensor, "N D"]],
) -> Int[Tensor, " n"] | None:
    """The tokens at which runs from two embeddings may differ (None: at all of them).

    From each prompt's first difference on, and one at least; all where the model looks ahead.
    """
    if model.looks_ahead:
        return None
    pairs = zip(ours, theirs, strict=True)
    differ = torch.stack([(a != b).any(-1) for a, b in pairs]).any(0)
    differ = tokens.pack(tokens.unpack(differ).cumsum(1) > 0)
    if bool(differ.all()):
        return None
    found = differ.nonzero()[:, 0]
    return found if len(found) else torch.zeros_like(differ[:1], dtype=torch.long)


def zero(model: Model, outer: Outer) -> AblatedRun:
    """Nothing is written: every stream is 0, and so is every write."""
    block, n = model.blocks[0], outer.tokens.count
    nothing = outer.embeddings[0].new_zeros(1).expand(n, model.width)
    heads = nothing.new_zeros(1).expand(n, block.n_heads, block.head_dim)

    def layers() -> Iterator[LayerState]:
        for block in model.blocks:
            qkv = block.qkv(nothing[:1])
            qkv = qkv.expand(qkv.shape[0], n, qkv.shape[2])
            yield LayerState(nothing, qkv, heads, 0.0, nothing, nothing)

    return AblatedRun("zero", (nothing,) * len(outer.embeddings), layers(), [nothing])


@dataclass(frozen=True, eq=False)
class Means:
    """Every writer's mean write over a reference set; P positions, or P = 1 for all alike."""

    embeddings: tuple[Float[Tensor, "P D"], ...]
    heads: tuple[Float[Tensor, "P H C"], ...]
    scales: tuple[Float[Tensor, " P"] | float, ...]
    mlps: tuple[Float[Tensor, "P D"], ...]


@torch.no_grad()
def means(
    model: Model,
    batches: Iterable[tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"] | None]],
    per_position: bool = True,
) -> Means:
    """Mean writes of the unmasked model over batches of (input_ids, attention_mask), pads left out.

    Sums are kept in float64, so that the result doesn't depend on how the set was cut into batches.
    """
    total: list[Tensor] = []
    count = torch.zeros(0, dtype=torch.float64, device=model.device)
    for input_ids, attention_mask in batches:
        kept = None if attention_mask is None else attention_mask.to(model.device)
        outer = model.outer(input_ids.to(model.device), kept)
        columns = _columns(outer.tokens).to(model.device) * int(per_position)
        states = list(plain(model, outer, []))
        parts = list(outer.embeddings) + [state.mlp for state in states]
        parts += [state.heads for state in states]
        if not isinstance(states[0].scale, float):
            parts += [state.scale for state in states]
        positions = max(len(count), int(columns.max()) + 1)
        total = total or [p.new_zeros(0, *p.shape[1:], dtype=torch.float64) for p in parts]
        total = [_grown(t, positions) for t in total]
        count = _grown(count, positions)
        count.index_add_(0, columns, torch.ones_like(columns, dtype=count.dtype))
        for t, part in zip(total, parts, strict=True):
            t.index_add_(0, columns, part.double())
    if not len(count):
        raise DataError("mean ablation needs at least one reference prompt")
    if not bool(count.all()):
        raise DataError(
            "mean ablation: no reference prompt has a token at position "
            f"{int((count == 0).nonzero()[0])}: pad on the right, or take means over positions "
            "(per_position=False)"
        )
    average = [(t / count.view(-1, *[1] * (t.ndim - 1))).to(model.dtype) for t in total]
    n, layers = model.graph.n_inputs, model.graph.n_layers
    scales = average[n + 2 * layers :] or [1.0] * layers
    return Means(
        tuple(average[:n]),
        tuple(average[n + layers : n + 2 * layers]),
        tuple(scales),
        tuple(average[n : n + layers]),
    )


def mean(model: Model, outer: Outer, reference: Means) -> AblatedRun:
    """Every writer writes its mean; a per-position reference must be as long as the prompts."""
    columns = _columns(outer.tokens).to(model.device)
    known = reference.mlps[0].shape[0]
    if known == 1:
        columns = torch.zeros_like(columns)
    elif int(columns.max()) >= known:
        raise DataError(
            f"mean ablation: the reference prompts have {known} positions, these "
            f"{int(columns.max()) + 1}; take a longer reference set "
            "or means over positions (per_position=False)"
        )
    embeddings = tuple(e[columns] for e in reference.embeddings)
    final: list[Tensor] = []

    def layers() -> Iterator[LayerState]:
        stream = sum(embeddings[1:], embeddings[0])
        for i, block in enumerate(model.blocks):
            heads, mlp, scale = reference.heads[i][columns], reference.mlps[i][columns], 1.0
            if not isinstance(reference.scales[i], float):
                scale = reference.scales[i][columns]
            after = stream + heads_write(block, heads, scale)
            base_mlp = stream if block.parallel else after
            yield LayerState(stream, block.qkv(stream), heads, scale, base_mlp, mlp)
            stream = after + mlp
        final.append(stream)

    return AblatedRun("mean", embeddings, layers(), final)


def ablated(
    model: Model,
    outer: Outer,
    kind: Ablation,
    counterfactual_ids: Int[Tensor, "B T"] | None,
    attention_mask: Bool[Tensor, "B T"] | None,
    reference: Means | None,
    ends: Int[Tensor, " m"] | None = None,
) -> AblatedRun:
    """The ablated run of a batch; ConfigError if what its kind needs is missing. `ends` as in
    `plain`, of what is computed."""
    check(kind, counterfactual_ids, reference)
    if kind == "interchange":
        return interchange(model, counterfactual_ids, attention_mask, ends)
    return zero(model, outer) if kind == "zero" else mean(model, outer, reference)


def check(
    kind: Ablation, counterfactual_ids: Int[Tensor, "B T"] | None, reference: Means | None
) -> None:
    """ConfigError for an ablation that there is not, or that lacks what it needs."""
    check_kind(kind)
    if kind == "interchange" and counterfactual_ids is None:
        raise ConfigError("interchange ablation needs counterfactual_ids, of input_ids' shape")
    if kind == "mean" and reference is None:
        raise ConfigError("mean ablation needs reference means: see edgewise.ablation.means")


def check_kind(kind: str) -> None:
    """ConfigError for an ablation that there is not."""
    if kind not in get_args(Ablation):
        raise ConfigError(f"ablation must be 'interchange', 'mean' or 'zero', not {kind!r}")


def _columns(tokens: Tokens) -> Int[Tensor, " N"]:
    """Each kept token's position in its prompt's row."""
    if tokens.keep is None:
        return torch.arange(tokens.length).repeat(tokens.batch)
    return tokens.keep % tokens.length


def _grown(t: Tensor, rows: int) -> Tensor:
    """`t` with zero rows appended up to `rows`."""
    if rows == t.shape[0]:
        return t
    return torch.cat([t, t.new_zeros(rows - t.shape[0], *t.shape[1:])])
