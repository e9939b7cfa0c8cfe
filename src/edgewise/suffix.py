"""Masked runs that begin at one reader, several of them side by side.

While the readers before r keep all their edges, every writer before r writes what it does in the
full model, whatever r and later readers read. Those differences delta_w are computed once for a
batch; a run in which only r's row of the mask is new begins at r, and K such rows are K runs on
K x B prompts. A reader q of a later block sees, with s the first writer that depends on r,

    x_q^k = [ x~_q + sum_{w<s} z_qw delta_w ] + sum_{w>=s} z_qw delta_w^k         k = 1..K

in which the bracket is the same for every k and computed once. This is equation (1) of `stream`,
and what is dead is left out as there, and so are tokens at which prompts haven't parted; there is
no gradient. N is the number of the others.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ablation import at_tokens, taken
from edgewise.cuts import Cut, Cuts
from edgewise.gradient import FullRun
from edgewise.heads import among
from edgewise.mlp import mlp_write
from edgewise.models.model import Outer
from edgewise.ops.chunks import Chunks
from edgewise.ops.mixing import mix, mixing
from edgewise.ops.read import read
from edgewise.plan import plan
from edgewise.prepared import Prepared


class Suffix:
    """A batch, and the differences of its writers while every edge is kept."""

    def __init__(self, ready: Prepared):
        self.ready, own = ready, ready.own
        full = FullRun(ready.model, ready.outer, ready.run, own, ready.index)
        self.delta, self.index = full.less().memory, full.index
        self.states = tuple(at_tokens(state, own) for state in ready.run.states())
        self.final = taken(ready.run.final[0], own)
        self._outers: dict[int, Outer] = {}

    @torch.no_grad()
    def logits(
        self, mask: Float[Tensor, "R W"], reader: int, rows: Float[Tensor, "K W"]
    ) -> Float[Tensor, "K A V"]:
        """Logits at the answers of K runs: `mask` with each of `rows` in place of `reader`'s row.

        `mask` keeps every edge into the blocks before the reader's and, if that is an MLP, into its
        block's heads. A row keeps no edge that the mask's own row doesn't.
        """
        graph, rows = self.ready.model.graph, rows.to(self.delta.dtype)
        layer, row = graph.place(reader)
        final, index = self.final, self.index
        if layer == graph.n_layers:
            return self._head(mix(final[index], self.delta[:, index], rows))
        if reader == graph.mlp_reader(layer):
            runs = _Runs(self, mask, len(rows), graph.mlp_writer(layer))
            runs.mlp(layer, rows)
        else:
            runs = _Runs(self, mask, len(rows), graph.writers_before_attention(layer))
            runs.heads(layer, row, rows)
            runs.mlp(layer)
        for later in range(layer + 1, graph.n_layers):
            runs.heads(later)
            runs.mlp(later)
        return self._head(runs.read_one(final, runs.cuts.logits(), index))

    def outer(self, count: int) -> Outer:
        """What surrounds the blocks for the prompts `count` times over; embeddings left out."""
        if count not in self._outers:
            batch = self.ready.batch
            outer = self.ready.model.outer(
                batch.input_ids.repeat(count, 1), batch.attention_mask.repeat(count, 1)
            )
            self._outers[count] = replace(outer, embeddings=())
        return self._outers[count]

    def _head(self, x: Float[Tensor, "K A D"]) -> Float[Tensor, "K A V"]:
        return self.ready.model.head(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class _Runs:
    """K runs, and the differences of the writers from `first` on, which each has for itself."""

    def __init__(self, suffix: Suffix, mask: Float[Tensor, "R W"], count: int, first: int):
        model, run = suffix.ready.model, suffix.ready.run
        open_ = (mask != 0).cpu().numpy() & model.graph.causal
        self.suffix, self.count, self.first = suffix, count, first
        self.blocks, self.graph, self.states = model.blocks, model.graph, suffix.states
        self.work = plan(model.graph, open_, run.kind == "interchange")
        self.cuts = Cuts(self.work, mask, model.dtype)
        self.outer = suffix.outer(count)
        slots = np.cumsum(self.work.live) - 1 - self.work.before(first)
        self.slots = torch.from_numpy(slots).to(mask.device)
        live = self.work.n_live - self.work.before(first)
        self.delta = suffix.delta.new_empty(live, count, *suffix.delta.shape[1:])
        self.own, n = suffix.ready.own, suffix.ready.outer.tokens.count
        if self.own is not None:
            runs = n * torch.arange(count, device=self.own.device)
            self.own = (runs[:, None] + self.own).flatten()

    def heads(
        self, layer: int, row: int | None = None, rows: Float[Tensor, "K W"] | None = None
    ) -> None:
        """A block's live heads read and write; `rows` are reader `row`'s where the runs part."""
        heads, block, state = self.work.layers[layer].heads, self.blocks[layer], self.states[layer]
        if not len(heads):
            return
        live = self.work.layers[layer].readers
        p, square = self._read(layer) if rows is None else self._read_first(layer, row, rows)
        qkv = block.project(p.flatten(1, 2), square.flatten(1, 2), block.offsets(live))
        qkv = among(state.qkv.repeat(1, self.count, 1), qkv, live, self.own)
        o = taken(block.attend(qkv, self.outer.calls[layer], self.outer.tokens), self.own)
        o, r = block.scaled(o)
        alike = state.scale if isinstance(state.scale, float) else state.scale.repeat(self.count)
        chosen = torch.from_numpy(heads).to(o.device)
        change = (o.unflatten(0, (self.count, -1)) - state.heads).flatten(0, 1)[:, chosen]
        change = change.transpose(0, 1)
        writes = change.new_empty(*change.shape[:2], self.delta.shape[-1])
        block.writes(change, r - alike, chosen, Chunks.whole(writes))
        writes = writes.unflatten(1, (self.count, -1))
        self.delta[self.slots[self.graph.head_writer(layer, 0) + chosen]] = writes

    def mlp(self, layer: int, rows: Float[Tensor, "K W"] | None = None) -> None:
        """A block's MLP reads and writes, if it is live; `rows` are its where the runs part."""
        if not self.work.layers[layer].mlp:
            return
        state, at = self.states[layer], slice(None)
        if layer == self.graph.n_layers - 1:
            at = self.suffix.index.unique()  # the logits alone read the last
        if rows is None:
            x = self.read_one(state.base_mlp, self.cuts.mlp(layer), at)
        else:
            before = self.graph.writers_before_mlp(layer)
            x = mix(state.base_mlp[at], self.suffix.delta[:before, at], rows[:, :before])
        writes = mlp_write(self.blocks[layer], x.flatten(0, 1)).view_as(x)
        own = self.delta[int(self.slots[self.graph.mlp_writer(layer)])]
        own[:, at] = self.blocks[layer].centre(writes - state.mlp[at])

    def read_one(
        self, base: Float[Tensor, "N D"], cut: Cut, at: Int[Tensor, " A"] | slice
    ) -> Float[Tensor, "K A D"]:
        """What a group of one reader sees at some tokens."""
        shared, mask, own = self._parts(base, cut, at)
        x = mix(shared[0].repeat(self.count, 1), own.flatten(1, 2), mask)
        return x.unflatten(1, own.shape[1:3])[0]

    def _parts(
        self, base: Float[Tensor, "N D"], cut: Cut, at: Int[Tensor, " A"] | slice
    ) -> tuple[Float[Tensor, "r A D"], Float[Tensor, "r w"], Float[Tensor, "w K A D"]]:
        """What a group sees of the writers before `first`; mask and differences of the others."""
        seen = self.suffix.delta[: self.first, at]
        shared = mix(base[at], seen, self.cuts.mask[cut.rows[:, 0], : self.first])
        later = cut.columns >= self.first
        own = _taken(self.delta[:, :, at], self.slots[cut.columns[later]])
        return shared, cut.mask[:, later], own

    def _read(self, layer: int) -> list[Tensor]:
        """Projections (r, K, N, C) and mean squares (r, K, N) of a block's live readers."""
        block = self.blocks[layer]
        base = block.centre(self.states[layer].base_attention)
        shared, mask, own = self._parts(base, self.cuts.attention(layer), slice(None))
        # The shared parts are columns of their own, each read by one reader.
        whole = torch.cat([torch.eye(len(mask), dtype=mask.dtype, device=mask.device), mask], 1)
        nothing, weight = torch.zeros_like(base), block.folded(self.work.layers[layer].readers)
        how = mixing(whole)
        found = [
            read(nothing, Chunks.whole(seen), how, weight)[:2]
            for seen in (torch.cat([shared, own[:, k]]) for k in range(self.count))
        ]
        return [torch.stack(each, 1) for each in zip(*found, strict=True)]

    def _read_first(self, layer: int, row: int, rows: Float[Tensor, "K W"]) -> list[Tensor]:
        """The same where the runs part: reader `row` alone differs."""
        block, cut, delta = self.blocks[layer], self.cuts.attention(layer), self.suffix.delta
        base, weight = block.centre(self.states[layer].base_attention), block.folded()
        seen, live = _taken(delta, cut.columns), self.work.layers[layer].readers
        weights = weight[torch.from_numpy(live).to(weight.device)]
        alike = read(base, Chunks.whole(seen), cut.mixing, weights)[:2]
        seen, weights = delta[: self.first], weight[row].expand(self.count, -1, -1)
        how = mixing(rows[:, : self.first])
        own = read(base, Chunks.whole(seen), how, weights)[:2]
        found = [torch.stack([each] * self.count, 1) for each in alike]
        place = torch.from_numpy(live == row)
        for together, each in zip(found, own, strict=True):
            together[place] = each
        return found


def _taken(buffer: Float[Tensor, "W ..."], places: Int[Tensor, " w"]) -> Float[Tensor, "w ..."]:
    """Rows in ascending order; no copy where they are the first."""
    if not len(places) or int(places[-1]) == len(places) - 1:
        return buffer[: len(places)]
    return buffer.index_select(0, places)
