"""THE masked forward pass, and its gradient with respect to the mask.

    x_r = x~_r + sum_{w<r} z_rw (x_w - x~_w)                                      (1)

Only differences delta_w = x_w - x~_w matter, so the ablated run and the masked run go through the
blocks in lockstep and one buffer holds the differences of all writers (W x N x D, one chunk of
tokens after another), less their means under LayerNorms, which take them off what they read. Each
reader mixes its own input from that buffer, normalises and projects it (`ops.read`), attention and
MLP are the model's own, and what they write, less what they wrote in the ablated run, is the next
row.
Of what came before the block, its MLP's input is mixed together with its heads', in one pass over
the buffer, and where there is room with those of blocks after it (`bundles`); what is written in
between is added when it has been.
What the last block writes is read by its MLP and the logits alone, and they only at the answers: it
is in a buffer of its own, of all writers at the answers' tokens, and the wide one ends before it.
There that block's queries and MLP read, which nobody needs elsewhere.
Tokens at which prompts haven't parted from their corrupted ones (`ablation.parted`) have no
differences and are left out; attention sees them as they are in the ablated run.

The backward pass walks the blocks in reverse with a second buffer for the gradients of the
differences. Reader inputs, which together are larger than the buffer, are never stored but mixed
again; only projections and one row a token for each MLP are kept. Weights get no gradient. What a
run of fewer live writers saves in both buffers goes to the MLPs' own graphs, for as many as fit:
theirs needn't be computed again.

All ones is the clean model, all zeros the ablated run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgewise.ablation import AblatedRun, Ablation, Means, ablated, parted, plain, taken
from edgewise.bundles import bundles
from edgewise.circuit import Circuit, check_circuit
from edgewise.cuts import Cut, Cuts
from edgewise.errors import DataError, GraphError
from edgewise.graph import Graph
from edgewise.heads import Reads
from edgewise.job import Job
from edgewise.mlp import mlp_backward, mlp_graph, mlp_write
from edgewise.models.model import Model, Outer, check_model
from edgewise.ops.chunks import Chunks, Wide
from edgewise.ops.mixing import accumulator
from edgewise.plan import LayerPlan, everything, plan
from edgewise.scores import EdgeScores
from edgewise.workspace import Workspace

Mask = Circuit | EdgeScores | Float[Tensor, " E"] | Float[Tensor, "R W"] | None


def dense_mask(graph: Graph, values: Float[Tensor, " E"]) -> Float[Tensor, "R W"]:
    """Gate values as the (R, W) matrix of (1): ones where the embedding is free, else zeros."""
    base, index = _layout(graph, values.device)
    return base.to(values.dtype).index_copy(0, index, values).view(graph.n_readers, graph.n_writers)


@lru_cache(maxsize=8)
def _layout(graph: Graph, device: torch.device) -> tuple[Tensor, Int[Tensor, " E"]]:
    base = (graph.causal & ~graph.valid).astype(np.float32).ravel()
    index = np.flatnonzero(graph.valid.ravel())
    return torch.from_numpy(base).to(device), torch.from_numpy(index).to(device)


def masked_read(
    model: Model,
    mask: Float[Tensor, "R W"],
    outer: Outer,
    run: AblatedRun,
    index: Int[Tensor, " A"] | None = None,
    live: bool = False,
    workspace: Workspace | None = None,
) -> Float[Tensor, "A D"]:
    """What the logits reader sees at the packed tokens `index` (None: all), but for a mean that its
    norm takes off; differentiable in mask.

    live        compute only what the mask's zeros leave alive (`plan`). The value is the same; the
                gradient is exact for open edges between live parts and not for others. Without it
                the gradient is exact everywhere
    workspace   keeps the wide buffers for the next run
    """
    graph = model.graph
    if mask.shape != (graph.n_readers, graph.n_writers):
        raise GraphError(
            f"a mask of this model is (readers, writers) = ({graph.n_readers}, {graph.n_writers}), "
            f"not {tuple(mask.shape)}"
        )
    work = everything(graph)
    if live:
        open_ = (mask.detach() != 0).cpu().numpy() & graph.causal
        work = plan(graph, open_, run.kind == "interchange")
    at, places = (None, None) if index is None else index.unique(return_inverse=True)
    own = own_tokens(model, outer, run, at)
    read_at = _Masked.apply(mask, Job(model, outer, run, work, own, at, workspace or Workspace()))
    if places is not None:
        return read_at[places]
    return read_at if own is None else run.final[0].index_copy(0, own, read_at)


def own_tokens(
    model: Model, outer: Outer, run: AblatedRun, index: Int[Tensor, " A"] | None
) -> Int[Tensor, " n"] | None:
    """The packed tokens that must be computed beside the ablated run's: those at which prompts have
    parted, and those of `index`. None: all."""
    if run.kind != "interchange":
        return None
    own = parted(model, outer.tokens, outer.embeddings, run.embeddings)
    return own if own is None or index is None else torch.cat([own, index]).unique()


@dataclass(frozen=True, eq=False)
class _Tape:
    """What the backward pass needs of a block; `base` as the ablated run holds it, mean and all,
    `qkv` where that run's stand in for some, `write` with its graph back to `x_mlp` where there was
    room for that."""

    base: Float[Tensor, "N D"]
    qkv: Float[Tensor, "R all C"] | None
    reads: Sequence[Reads]
    x_mlp: Float[Tensor, "n D"] | None
    write: Float[Tensor, "n D"] | None


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, job: Job) -> Tensor:
        ctx.job = job
        ctx.mask = mask.detach()
        ctx.tapes = [] if ctx.needs_input_grad[0] else None
        ctx.cuts = Cuts(job.plan, ctx.mask, job.model.dtype, job.at is not None)
        x, *ctx.differences = _forward(job, ctx.cuts, ctx.tapes)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, None]:
        if ctx.tapes is None:
            raise RuntimeError(
                "this masked run went backward already, which frees what it kept: run it forward "
                "again, or add up what depends on it and go backward once"
            )
        dmask = ctx.mask.new_zeros(ctx.mask.shape, dtype=accumulator(dx.dtype))
        _backward(ctx.job, ctx.cuts, ctx.tapes, ctx.differences, dx, dmask)
        ctx.tapes = ctx.differences = ctx.cuts = None
        return dmask.to(ctx.mask.dtype), None


def _forward(
    job: Job, cuts: Cuts, tapes: list[_Tape] | None
) -> tuple[Float[Tensor, "n D"], Wide, Chunks]:
    """What the logits reader sees, but for a mean that its norm takes off; differences at all
    tokens, and of all live writers where the logits are read."""
    model, work, own = job.model, job.plan, job.own
    first = taken(job.outer.embeddings[0], own)
    wide = delta = job.buffer("differences", first)
    for writer, (clean, other) in enumerate(
        zip(job.outer.embeddings, job.run.embeddings, strict=True)
    ):
        if work.live[writer]:
            change = model.centre(taken(clean, own) - taken(other, own))
            wide.put(work.before(writer), change)
    spare = None if tapes is None else job.buffer("gradients", first)

    def rooms(used: int) -> list[list[Tensor]]:
        free = wide.rows(slice(used, None)) if spare is None else spare
        return [[each] for _, each in free]

    bundled = bundles(cuts, rooms)
    room = 0
    if tapes is not None and model.whole:  # weights that come and go mustn't be in a graph
        all_live = job.wide(everything(work.graph)) * first.nbytes
        room = 2 * (all_live - wide.memory.untyped_storage().nbytes())
    states = job.run.states()
    for number in range(model.graph.n_layers):
        state = next(states)
        x_mlp = graphed = None
        block, todo, heads = model.blocks[number], work.layers[number], job.heads(number)
        place, bundle = job.place(number), bundled[number]
        base = taken(state.base_attention, own)
        if number == bundle.first:
            held = bundle.mix(wide, rooms)
        cut = bundle.own(cuts, number)
        readers, *late = heads.readers
        others = [taken(state.base_mlp, own)] if todo.mlp and place is None else []
        found, whole = readers.read(base, cut, wide, others, bundle.of(held, number))
        reads = [found]
        if place is not None:
            narrow = first.new_empty(work.n_live, len(place), model.width)
            narrow[: len(wide)] = wide.taken(place)
            delta = Chunks.whole(narrow)
        reads += [each.read(base[place], cuts.queries(number), delta)[0] for each in late]
        if len(todo.heads):
            o, r = heads.put_out(state.qkv, reads)
            heads.write(o, r, state, delta.rows(_heads(cut, todo)))
        if todo.mlp:
            seen = whole[0] if place is None else taken(state.base_mlp, heads.at)
            x_mlp = cuts.own(number).mix(seen, delta)
            if room > 0:
                graphed, n_bytes = mlp_graph(block, x_mlp)
                room -= n_bytes
            written = mlp_write(block, x_mlp) if graphed is None else graphed.detach()
            own_row = work.before(model.graph.mlp_writer(number))
            delta.put(own_row, block.centre(written - taken(state.mlp, heads.at)))
        if tapes is not None:
            all_ours = own is None and len(todo.readers) == block.n_readers
            qkv = None if all_ours else state.qkv
            tapes.append(_Tape(base, qkv, reads, x_mlp, graphed))
        del state  # before there is another
    next(states, None)  # which ends the ablated run
    (final,) = job.run.final
    return cuts.logits().mix(taken(final, job.read_at), delta), wide, delta


def _backward(
    job: Job,
    cuts: Cuts,
    tapes: list[_Tape],
    differences: list[Chunks],
    dx: Float[Tensor, "n D"],
    dmask: Float[Tensor, "R W"],
) -> None:
    """Write the mask's gradient to `dmask`; empty the lists as what is in them has been used."""
    model, work, graph = job.model, job.plan, job.model.graph
    delta, wide = differences.pop(), differences.pop()
    gradients = job.buffer("gradients", tapes[0].base)
    gradients.memory.zero_()
    ddelta = gradients
    if delta is not wide:
        ddelta = Chunks(tuple((at, torch.zeros_like(each)) for at, each in delta))

    def rooms(used: int) -> list[list[Tensor]]:
        return [[d[used:], g[used:]] for (_, d), (_, g) in zip(wide, gradients, strict=True)]

    bundled = bundles(cuts, rooms)

    def give(cut: Cut, dx: Tensor) -> None:
        cut.scatter(dmask, cut.mix_backward(dx, delta, ddelta))

    give(cuts.logits(), dx)
    for number in reversed(range(graph.n_layers)):
        block, todo, tape = model.blocks[number], work.layers[number], tapes.pop()
        place, dwhole, bundle = job.place(number), [], bundled[number]
        if todo.mlp:
            own = work.before(graph.mlp_writer(number))
            dx = mlp_backward(block, tape.x_mlp, block.centre(ddelta.row(own)), tape.write)
            give(cuts.own(number), dx)
            dwhole = [dx] if place is None else []
        cut, heads = bundle.own(cuts, number), job.heads(number)
        dwrites = ddelta.rows(_heads(cut, todo))
        if place is not None:
            ((_, narrow),) = ddelta
            gradients.set(place, narrow[: len(wide)])
            dwrites = Chunks.whole(narrow[_heads(cut, todo)].clone())
            delta, ddelta = wide, gradients  # and the narrow buffers are free
            del narrow
        grads = [(each.p, each.square) for each in tape.reads]  # of no readers, if of no heads
        if len(todo.heads):
            grads = heads.put_out_backward(tape.qkv, tape.reads, dwrites)
        readers, *late = heads.readers
        for queries in late:
            seen, base = cuts.queries(number), tape.base[place]
            narrow, there = gradients.taken(place), Chunks.whole(wide.taken(place))
            into = Chunks.whole(narrow)
            partial = queries.read_backward(base, seen, there, grads.pop(), into)
            seen.scatter(dmask, partial)
            gradients.set(place, narrow)
            del narrow, there, into
        if number == bundle.last:
            held = bundle.mix(delta, rooms)
        partial = readers.read_backward(
            tape.base, cut, delta, grads.pop(), ddelta, dwhole, bundle.of(held, number)
        )
        cut.scatter(dmask, partial)
        if number == bundle.first:
            bundle.give(held, delta, ddelta, dmask)


def _heads(cut: Cut, todo: LayerPlan) -> slice:
    """The rows of a block's live heads, which come after those that it sees."""
    return slice(cut.span.stop, cut.span.stop + len(todo.heads))


@torch.no_grad()
def run(
    model: Model,
    input_ids: Int[Tensor, "B T"],
    circuit: Mask = None,
    *,
    counterfactual_ids: Int[Tensor, "B T"] | None = None,
    ablation: Ablation = "interchange",
    attention_mask: Bool[Tensor, "B T"] | None = None,
    reference: Means | None = None,
) -> Float[Tensor, "B T V"]:
    """Logits of the model with only `circuit`'s edges: equation (1). Zeros at padded positions.

    circuit     a Circuit, EdgeScores or a tensor of E gates or (R, W) entries in [0, 1], None for
                all ones
    reference   means for ablation="mean", from `edgewise.ablation.means`

    Raises GraphError for a mask of another graph, DataError for prompts that are no tensors of
    whole numbers or don't pair up, ConfigError for an ablation that lacks what it needs and for
    what is no model or circuit.
    """
    check_model(model)
    input_ids, counterfactual_ids, attention_mask = _paired(
        model, input_ids, counterfactual_ids, attention_mask
    )
    mask = as_mask(model, circuit)
    outer = model.outer(input_ids, attention_mask)
    other = ablated(model, outer, ablation, counterfactual_ids, attention_mask, reference)
    x = masked_read(model, mask, outer, other, live=True)
    logits = model.head(x)
    return outer.tokens.unpack(logits)


@torch.no_grad()
def full_read(model: Model, outer: Outer, index: Int[Tensor, " A"]) -> Float[Tensor, "A D"]:
    """What the logits reader of the unmasked model sees at the packed tokens `index`."""
    final: list[Tensor] = []
    for _ in plain(model, outer, final, ends=index.unique()):
        pass
    return final[0][index]


def as_mask(model: Model, circuit: Mask) -> Float[Tensor, "R W"]:
    """Any form of mask as the float32 (R, W) matrix; GraphError if it belongs to another graph."""
    graph = model.graph
    if circuit is None:
        return torch.from_numpy(graph.causal.astype(np.float32)).to(model.device)
    if isinstance(circuit, Circuit | EdgeScores):
        if circuit.graph != graph:
            raise GraphError(f"the circuit is of {circuit.graph}, the model of {graph}")
        values = circuit.kept if isinstance(circuit, Circuit) else circuit.values
        return dense_mask(graph, torch.from_numpy(values.astype(np.float32)).to(model.device))
    if not isinstance(circuit, Tensor):
        check_circuit(circuit)
    if circuit.shape == (graph.n_edges,):
        return dense_mask(graph, circuit.to(model.device).float())
    if circuit.shape != (graph.n_readers, graph.n_writers):
        raise GraphError(
            f"a mask has shape ({graph.n_edges},) or ({graph.n_readers}, {graph.n_writers}), "
            f"not {tuple(circuit.shape)}"
        )
    return circuit.to(model.device).float()


def _paired(
    model: Model, input_ids: Tensor, other: Tensor | None, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    _check_ids("input_ids", input_ids)
    if other is not None:
        _check_ids("counterfactual_ids", other)
    if input_ids.ndim != 2:
        raise DataError(f"input_ids must be (B, T), not {tuple(input_ids.shape)}")
    for name, given in (("counterfactual_ids", other), ("attention_mask", attention_mask)):
        if given is not None and given.shape != input_ids.shape:
            raise DataError(
                f"{name} has shape {tuple(given.shape)}, input_ids {tuple(input_ids.shape)}: a "
                "clean and a corrupted prompt pair up token by token"
            )
    move = (None if t is None else t.to(model.device) for t in (input_ids, other, attention_mask))
    ids, others, mask = move
    return ids, others, None if mask is None else mask.bool()


def _check_ids(name: str, given: Any) -> None:
    """DataError for anything but a tensor that an embedding takes."""
    kind = given.dtype if isinstance(given, Tensor) else f"a {type(given).__name__}"
    if kind not in (torch.int64, torch.int32):
        raise DataError(
            f"{name} must be a (B, T) tensor of whole numbers, int64 or int32, not {kind}: type "
            "torch.tensor([[5, 7]]) or model.tokenizer(prompts, return_tensors='pt').input_ids"
        )
