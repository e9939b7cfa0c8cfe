"""A batch made ready for masked runs: what depends on the prompts alone, computed once.

The full model's logits at the answer positions and the ablated run are the same for every mask.
Held as a tuple of layer states they can be used again, by another circuit or in another epoch.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.ablation import AblatedRun, Ablation, Means, ablated, beside, means
from edgewise.counting import storage_bytes
from edgewise.errors import DataError
from edgewise.models.model import Model, Outer
from edgewise.stream import full_read, masked_read, own_tokens
from edgewise.tasks.example import Batch
from edgewise.tasks.task import Task
from edgewise.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Prepared:
    """A batch, where its answers are read (`index`, packed tokens), and its ablated run; `read` is
    what the full model's logits see there, if it has been run."""

    model: Model
    batch: Batch
    outer: Outer
    index: Int[Tensor, " A"]
    run: AblatedRun
    read: Float[Tensor, "A D"] | None = None

    @cached_property
    def full(self) -> Float[Tensor, "A V"]:
        """The full model's logits at the answer positions; run when they are first asked for, if
        it hasn't been."""
        with torch.no_grad():
            read = full_read(self.model, self.outer, self.index) if self.read is None else self.read
            return self.model.head(read)

    @cached_property
    def own(self) -> Int[Tensor, " n"] | None:
        """The packed tokens that no run but the ablated one has computed (None: all)."""
        return own_tokens(self.model, self.outer, self.run, self.index)

    def logits(
        self, mask: Float[Tensor, "R W"], live: bool = False, workspace: Workspace | None = None
    ) -> Float[Tensor, "A V"]:
        """Logits of a masked run at the answer positions, differentiable in `mask`."""
        read = masked_read(self.model, mask, self.outer, self.run, self.index, live, workspace)
        return self.model.head(read)

    @property
    def n_bytes(self) -> int:
        """Memory that is held for the next use."""
        held = [self.full, *self.run.embeddings, *self.run.final]
        held += [] if self.read is None else [self.read]
        for state in self.run.states():
            held += [v for v in vars(state).values() if isinstance(v, Tensor)]
        return storage_bytes(held)


@torch.no_grad()
def prepare(
    model: Model,
    batch: Batch,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
    full: bool = True,
    everywhere: bool = False,
) -> Prepared:
    """Run the ablated run of a batch once, and hold it.

    full          run the full model along with it, where that is cheaper than by itself later
    everywhere    what the last block writes is needed at all tokens, not at the answers alone
    """
    batch = batch.to(model.device)
    outer = model.outer(batch.input_ids, batch.attention_mask)
    index = outer.tokens.index(batch.rows, batch.cols)
    other, mask, stream = batch.counterfactual_ids, batch.attention_mask, []
    ends = None if everywhere else index.unique()
    if full and ablation == "interchange":
        run, stream = beside(model, batch.input_ids, other, mask, ends)
    else:
        run = ablated(model, outer, ablation, other, mask, reference, ends)
    kept = AblatedRun(run.kind, run.embeddings, tuple(run.states()), run.final)
    return Prepared(model, batch, outer, index, kept, stream[0][index] if stream else None)


def reference_means(
    model: Model, task: Task, batch_size: int = 32, split: str = "train", per_position: bool = True
) -> Means:
    """Mean writes over a split's corrupted prompts: what mean ablation puts for absent edges."""
    try:
        batches = task.batches(split, batch_size)
    except DataError as error:
        raise DataError(f"mean ablation averages over corrupted prompts of {error}") from error
    pairs = ((batch.counterfactual_ids, batch.attention_mask) for batch in batches)
    return means(model, pairs, per_position)
