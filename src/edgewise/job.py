"""A masked run's job: what is computed of a batch, where it is needed, and in what memory."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ablation import AblatedRun
from edgewise.heads import Heads, Readers
from edgewise.models.model import Model, Outer
from edgewise.ops.chunks import Wide
from edgewise.ops.slices import slices
from edgewise.plan import Plan
from edgewise.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Job:
    """`own` are the tokens that are computed (None: all), of N here; `at` those of them where the
    logits are read, once each (None: everywhere)."""

    model: Model
    outer: Outer
    run: AblatedRun
    plan: Plan
    own: Int[Tensor, " N"] | None
    at: Int[Tensor, " n"] | None
    workspace: Workspace

    @property
    def read_at(self) -> Int[Tensor, " n"] | None:
        """Where the logits are read, of all tokens of the batch (None: at all)."""
        return self.own if self.at is None else self.at

    def written_at(self, layer: int) -> Int[Tensor, " n"] | None:
        """Where what a block writes is needed, of all tokens of the batch (None: at all)."""
        return self.read_at if layer == self.model.graph.n_layers - 1 else self.own

    @cached_property
    def _place(self) -> Int[Tensor, " n"] | None:
        if self.own is None or self.at is None:
            return self.at
        return torch.searchsorted(self.own, self.at)

    def place(self, layer: int) -> Int[Tensor, " n"] | None:
        """Where that is among those that are computed (None: they are those)."""
        return self._place if layer == self.model.graph.n_layers - 1 else None

    def heads(self, layer: int) -> Heads:
        """A block's live heads in this run; the queries of the last, which nobody needs but where
        it writes, by themselves."""
        outer, block, live = self.outer, self.model.blocks[layer], self.plan.layers[layer]
        rows = None if len(live.readers) == block.n_readers else live.readers
        at, readers = self.written_at(layer), ((rows, self.own),)
        if self.place(layer) is not None:
            queries, others = live.parted(block.n_heads)
            readers = ((others, self.own), (queries, at))
        parts = tuple(Readers(block, *each) for each in readers)
        return Heads(block, live, outer.calls[layer], outer.tokens, parts, at)

    def wide(self, work: Plan) -> int:
        """How many of a plan's live writers have differences at all tokens."""
        graph = self.model.graph
        if self.at is None:
            return work.n_live
        return work.before(graph.writers_before_attention(graph.n_layers - 1))

    def buffer(self, name: str, like: Float[Tensor, "N D"]) -> Wide:
        """A row for each of them, in chunks of what one block's readers see at a time."""
        rows = max(len(todo.readers) + todo.mlp for todo in self.plan.layers)
        memory = self.workspace.take(name, like, self.wide(self.plan), *like.shape)
        return Wide.of(memory, slices(like, max(1, rows)))
