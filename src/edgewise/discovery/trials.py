"""Trials: what is measured with edges of one reader removed, over the same prompts each time.

The prompts are held with what they share (`suffix`): the memory of their difference buffers, as
long as the search lasts. Processes share them, and each is told the mean over all.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import runtime
from edgewise.discovery.batches import in_order
from edgewise.discovery.found import Search
from edgewise.ops.kl import kl_rows
from edgewise.prepared import Prepared
from edgewise.suffix import Suffix

Metric = Callable[[Prepared, Float[Tensor, "A V"]], Float[Tensor, ""]]


class Trials:
    """The first training prompts (None: all), `together` trials of a piece of them at a time."""

    def __init__(self, search: Search, batch_size: int, prompts: int | None, together: int):
        if search.at_most is not None:
            batch_size = min(batch_size, max(1, search.at_most // together))
        self.graph = search.model.graph
        self.pieces = [Suffix(ready) for ready in in_order(search, batch_size, prompts)]

    def measure(
        self,
        metric: Metric,
        mask: Float[Tensor, "R W"],
        reader: int,
        removed: Sequence[Sequence[int]],
    ) -> list[float]:
        """The metric of `mask` with each list of the reader's edges removed, in float64.

        metric    of a piece's logits, a sum weighted as its batch says
        mask      keeps every edge before the reader, as `Suffix.logits` asks
        """
        rows = mask[reader].repeat(len(removed), 1)
        for row, edges in zip(rows, removed, strict=True):
            row[self.graph.writer_of[list(edges)]] = 0
        total = torch.zeros(len(removed), dtype=torch.float64)
        for piece in self.pieces:
            each = [metric(piece.ready, logits) for logits in piece.logits(mask, reader, rows)]
            total += torch.stack(each).double().cpu()
        return runtime.total(total).tolist()


def divergence(ready: Prepared, logits: Float[Tensor, "A V"]) -> Float[Tensor, ""]:
    """KL(full || circuit), in nats."""
    return kl_rows(ready.full, logits, ready.batch.token_set) @ ready.batch.weights
