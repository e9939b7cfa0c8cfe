"""The gradient with respect to every edge where every edge is kept, without a masked run.

At z = 1 all readers of a place in the model see one stream, and so they do wherever the full model
is run, also on inputs of its own. Nothing has to be mixed for a reader. Backward the gradient g of
the stream after a reader is that of every write before it, and with dx_r, what reader r's input
adds to g,

    dL/dz_rw = sum_n <dx_r, delta_w>        g  <-  g + sum_r dx_r                 (r's block done)

so that one product with the differences delta_w is all that edges cost, and g is N x D where a
masked run needs W x N x D (`stream`). Attention is computed again, and so are MLPs whose graphs
there was no room to keep. Tokens without differences, where prompts haven't parted, are left out,
and so is what only the last block's queries, MLP and writes would take elsewhere than at the
answers.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ablation import AblatedRun, LayerState, at_tokens, plain, taken
from edgewise.mlp import mlp_backward, mlp_graph, mlp_write
from edgewise.models.block import Block
from edgewise.models.model import Model, Outer
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.ops.chunks import Chunks, Wide
from edgewise.ops.mixing import accumulator, products
from edgewise.ops.product import linear
from edgewise.ops.read import mean_square
from edgewise.ops.slices import Room, slices
from edgewise.workspace import Workspace


class FullRun:
    """The full model's run on some inputs beside the ablated run `other`, block by block.

    own      the packed tokens to compute, N of them here (None: all); elsewhere it is the other run
    index    those among them where the logits are read (None: at all)
    graphs   keep those of MLPs for `gradient`, in no more memory than the differences take

    `stream` is what the logits read; NaN elsewhere, as is what the last MLP reads and writes.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: Model,
        outer: Outer,
        other: AblatedRun,
        own: Int[Tensor, " N"] | None = None,
        index: Int[Tensor, " A"] | None = None,
        graphs: bool = False,
    ):
        final: list[Tensor] = []
        self.model, self.outer, self.other, self.own = model, outer, other, own
        self.index = index if own is None or index is None else torch.searchsorted(own, index)
        self._answers = None if index is None else self.index.unique()
        # Weights that come and go mustn't be in a graph.
        each = taken(outer.embeddings[0], own).nbytes
        self._room = model.graph.n_writers * each if graphs and model.whole else 0
        self._mlps: list[tuple[Tensor, Tensor | None]] = []  # what they read; its graph's end
        others = () if own is None else other.states()
        states = plain(model, outer, final, self._mlp_write, own, others, self._answers)
        self.states: Sequence[LayerState] = tuple(states)
        self.stream: Float[Tensor, "N D"] = final[0]

    @property
    def read(self) -> Float[Tensor, "A D"]:
        """What the logits read at `index`."""
        return taken(self.stream, self.index)

    def _mlp_write(self, block: Block, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """What a block's MLP writes; its graph is kept where there is room."""
        x, written = x.detach(), None
        if self._room > 0:
            written, n_bytes = mlp_graph(block, x)
            self._room -= n_bytes
        self._mlps.append((x, written))
        return mlp_write(block, x) if written is None else written.detach()

    @torch.no_grad()
    def less(
        self, workspace: Workspace | None = None, tokens: Sequence[slice] | None = None
    ) -> Wide:
        """delta_w = x_w - x~_w of every writer, w in order, without its mean where readers take it
        off; in a `workspace`, if there is one.

        tokens    those of its chunks (None: one of all)
        """
        graph, first, own, other = self.model.graph, self.stream, self.own, self.other
        room = workspace or Workspace()
        memory = room.take("differences", first, graph.n_writers, *first.shape)
        delta = Wide.of(memory, [slice(0, len(first))] if tokens is None else tokens)
        pairs = zip(self.outer.embeddings, other.embeddings, strict=True)
        for writer, (ours, theirs) in enumerate(pairs):
            delta.put(writer, self.model.centre(taken(ours, own) - taken(theirs, own)))
        runs = zip(self.model.blocks, self.states, other.states(), strict=True)
        for number, (block, ours, theirs) in enumerate(runs):
            theirs = at_tokens(theirs, own)
            change = (ours.heads - theirs.heads).transpose(0, 1)
            start, mlp = graph.writers_before_attention(number), graph.mlp_writer(number)
            scale = ours.scale - theirs.scale
            block.writes(change, scale, None, delta.rows(slice(start, mlp)))
            delta.put(mlp, block.centre(ours.mlp - theirs.mlp))
        return delta

    @property
    def slices(self) -> list[slice]:
        """Of as many tokens as `gradient` takes at a time."""
        return slices(self.stream, self.model.blocks.parts[0].n_readers + 1)

    def gradient(self, dread: Float[Tensor, "A D"], delta: Wide) -> Float[Tensor, "R W"]:
        """dL/dz at z = 1, of z that multiplies `delta`; fastest where that is cut in `slices`.
        Where readers take the mean off, `delta` comes without it.

        dread    dL of what the logits `read`
        """
        model, graph, at, seen = self.model, self.model.graph, self._answers, delta
        kind = accumulator(dread.dtype)
        dmask = dread.new_zeros(graph.n_readers, graph.n_writers, dtype=kind)
        after = dread = model.centre(dread)
        if at is not None:
            after = torch.zeros_like(self.stream).index_add_(0, self.index, dread)
            seen = Chunks.whole(delta.taken(at))
        dmask[graph.logits_reader] = _contract(taken(after, at), seen).to(kind)
        for number in reversed(range(graph.n_layers)):
            block, state, call = model.blocks[number], self.states[number], self.outer.calls[number]
            before, mlp = graph.writers_before_attention(number), graph.mlp_reader(number)
            x, written = self._mlps[number]
            self._mlps[number] = x, None  # a graph goes backward once
            dwrite = taken(after, at)
            dmlp = mlp_backward(block, x, dwrite, written)
            own = slice(before, graph.writers_before_mlp(number))
            dmask[mlp, own] = _contract(dmlp, seen.rows(own)).to(kind)
            dwrite = dwrite if block.parallel else dwrite + dmlp
            qkv = _attention_backward(block, state, call, self.outer.tokens, self.own, at, dwrite)
            both = (each.rows(slice(0, before)) for each in (delta, seen))
            readers = slice(graph.attention_readers(number).start, mlp + 1)
            dmask[readers, :before], dx = _block_backward(block, state, *qkv, dmlp, at, *both)
            after, at, seen = after + dx, None, delta
        return dmask


def _contract(dx: Float[Tensor, "n D"], delta: Chunks) -> Float[Tensor, " w"]:
    return sum(values.flatten(1) @ dx[tokens].flatten() for tokens, values in delta)


def _attention_backward(
    block: Block,
    state: LayerState,
    call: Call,
    tokens: Tokens,
    own: Int[Tensor, " N"] | None,
    at: Int[Tensor, " m"] | None,
    dwrite: Float[Tensor, "m D"],
) -> tuple[Float[Tensor, "R N C"], Float[Tensor, "R N C"]]:
    """A block's queries, keys and values, and their gradients from that of what its heads write."""
    qkv = state.qkv.detach().requires_grad_()
    with torch.enable_grad():
        o = taken(taken(block.attend(qkv, call, tokens), own), at)
        scaled, r = block.scaled(o)
    outputs, bias = [scaled.flatten(1)], block.out_bias
    grads = [linear(dwrite, block.out_weight.flatten(0, 1))]
    if isinstance(r, Tensor) and bias is not None:
        outputs, grads = [*outputs, r], [*grads, block.n_heads * (dwrite @ bias)]
    (dqkv,) = torch.autograd.grad(outputs, qkv, grads)
    qkv = qkv.detach()
    return (qkv, dqkv) if own is None else (qkv[:, own], dqkv[:, own])


def _block_backward(
    block: Block,
    state: LayerState,
    qkv: Float[Tensor, "R N C"],
    dqkv: Float[Tensor, "R N C"],
    dmlp: Float[Tensor, "m D"],
    at: Int[Tensor, " m"] | None,
    delta: Chunks,
    narrow: Chunks,
) -> tuple[Float[Tensor, "r w"], Float[Tensor, "N D"]]:
    """Gradients of the mask of a block's queries, keys, values and MLP, and of the stream there.

    dmlp      of what the MLP reads
    at        where alone queries and the MLP read (None: everywhere), as `narrow` has `delta` there
    """
    x, weight, heads = block.centre(state.base_attention), block.folded(), block.n_heads
    dp, dsquare = block.project_backward(mean_square(x), block.offsets(), qkv, dqkv)
    if at is None:
        dmask, dstream = _reads_backward(x, dp, dsquare, weight, delta, [dmlp])
    else:
        first = (x[at], dp[:heads, at], dsquare[:heads, at], weight[:heads])
        late, more = _reads_backward(*first, narrow, [dmlp])
        rest = (x, dp[heads:], dsquare[heads:], weight[heads:])
        others, dstream = _reads_backward(*rest, delta)
        dmask = torch.cat([late[:heads], others, late[heads:]])
        dstream.index_add_(0, at, more)
    return dmask, block.centre(dstream)


def _reads_backward(
    x: Float[Tensor, "n D"],
    dp: Float[Tensor, "r n C"],
    dsquare: Float[Tensor, "r n"],
    weight: Float[Tensor, "r C D"],
    delta: Chunks,
    dwhole: Sequence[Float[Tensor, "n D"]] = (),
) -> tuple[Float[Tensor, "all w"], Float[Tensor, "n D"]]:
    """Gradients of the mask of readers that see x, and of x.

    dwhole    gradients of what further readers see, the mask's last rows
    """
    slope = ((2.0 / x.shape[1]) * dsquare).to(x.dtype)[..., None]
    room, readers, dmask = Room(x), len(weight), 0.0
    count, dstream = readers + len(dwhole), torch.empty_like(x)
    for part in delta.slices(x, count):
        dx = room.take(count, part)
        torch.mul(slope[:, part], x[part], out=dx[:readers]).baddbmm_(dp[:, part], weight)
        for row, other in enumerate(dwhole, start=readers):
            dx[row] = other[part]
        dmask = dmask + products(dx, delta.at(part))
        torch.sum(dx, 0, out=dstream[part])
    return dmask, dstream
