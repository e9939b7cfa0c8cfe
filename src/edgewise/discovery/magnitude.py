"""Magnitude: how large is what an edge carries? A control that never looks at the prediction.

Each reader divides what it reads by the size of it (a norm), so what counts of a difference is its
share of the stream. With the unmasked model's stream x_r at reader r,

    score_rw = mean over prompts and their tokens of ||x_w - x~_w|| / ||x_r||

both less their means where norms take them off. All readers of one stream, the heads of a block,
rank their writers alike. Readers' projections are left out: those of an MLP and of the logits have
no common scale with a head's.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import runtime
from edgewise.discovery.batches import in_order
from edgewise.discovery.found import Result, Search, check_fields, check_size
from edgewise.discovery.ranking import ranked
from edgewise.gradient import FullRun
from edgewise.graph import Graph
from edgewise.prepared import Prepared


@dataclass(frozen=True)
class Magnitude:
    """Edges by the size of the difference that they carry, over the training split.

    density, edges    size of the circuit: one of the two
    prompts           of the training split (None: all)
    batch_size        prompts at a time
    """

    name: ClassVar[str] = "magnitude"
    density: float | None = 0.02
    edges: int | None = None
    prompts: int | None = None
    batch_size: int = 16

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, prompts=1, batch_size=1)
        check_size(self.density, self.edges, graph)


def magnitude(method: Magnitude, search: Search) -> Result:
    """Rank edges by their relative sizes."""
    graph = search.model.graph
    total = torch.zeros(graph.n_readers, graph.n_writers, device=search.model.device)
    found = in_order(search, method.batch_size, method.prompts, "magnitude", False, everywhere=True)
    for ready in found:
        total += _shares(ready)
    values = runtime.total(total).cpu()[torch.tensor(graph.valid)]
    return ranked(search, values, method.density, method.edges)


@torch.no_grad()
def _shares(ready: Prepared) -> Float[Tensor, "R W"]:
    """The weighted sum over a batch's prompts."""
    model, outer, graph = ready.model, ready.outer, ready.model.graph
    mask = ready.batch.attention_mask
    weights = (ready.batch.prompt_weights / mask.sum(1))[:, None].expand(mask.shape)
    weights = outer.tokens.pack(weights)
    run = FullRun(model, outer, ready.run)
    sizes = run.less().memory.float().norm(dim=-1)
    rows = []
    for state in run.states:
        attention, mlp = (model.centre(x) for x in (state.base_attention, state.base_mlp))
        rows += [_inverse(attention)] * graph.n_attention_readers + [_inverse(mlp)]
    rows.append(_inverse(model.centre(run.stream)))
    return (torch.stack(rows) * weights) @ sizes.t()


def _inverse(stream: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """1 / ||x|| of every token; 0 where the stream is."""
    size = stream.float().norm(dim=-1)
    return torch.where(size > 0, 1 / size, 0.0)
