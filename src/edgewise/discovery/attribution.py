"""Edge attribution patching: one gradient for all edges at once.

Of the metric M, higher when the model does the task, removing edge w -> r has the first-order
effect

    EAP        score = dM/dz_rw at z = 1 = sum_n <dM/dx_r, x_w - x~_w>     (Syed et al. 2310.10348)

    EAP-IG     the same gradient averaged over runs whose input lies on the line from the corrupted
               to the clean embedding, contracted with the clean differences
               (Hanna et al. 2403.17806)
               score = sum_n <1/S sum_s dM/dx_r |_{x~ + s/S (x - x~)}, x_w - x~_w>

M is the logit difference of answer and distractor, or the answer's log-probability where there is
no distractor: KL(full || circuit) has no gradient at its minimum, the full model.
"""

import time
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import runtime
from edgewise.discovery.found import Result, Search, n_kept
from edgewise.errors import ConfigError, NonFiniteError
from edgewise.graph import Graph
from edgewise.prepared import Prepared, prepare
from edgewise.scores import EdgeScores, Order
from edgewise.stream import dense_mask, differences, masked_read
from edgewise.tasks.example import Batch
from edgewise.tasks.shares import Share


@dataclass(frozen=True)
class EAP:
    """Edge attribution patching over the training split.

    density, edges    size of the circuit: one of the two
    order             "magnitude" keeps edges of large effect either way, "value" those that help
    prompts           of the training split (None: all)
    """

    name: ClassVar[str] = "eap"
    density: float | None = 0.02
    edges: int | None = None
    order: Order = "magnitude"
    prompts: int | None = None
    batch_size: int = 16

    def check(self, graph: Graph) -> None:
        _check(self, graph)


@dataclass(frozen=True)
class EAPIG:
    """EAP with integrated gradients over the input embedding; fields as in `EAP`.

    steps    runs on the line from the corrupted to the clean input; 1 is EAP
    """

    name: ClassVar[str] = "eap-ig"
    density: float | None = 0.02
    edges: int | None = None
    steps: int = 5
    order: Order = "magnitude"
    prompts: int | None = None
    batch_size: int = 16

    def check(self, graph: Graph) -> None:
        _check(self, graph)
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: it must be at least 1")


def _check(method: EAP | EAPIG, graph: Graph) -> None:
    n_kept(graph, method.density, method.edges)
    for name, value in (("prompts", method.prompts), ("batch_size", method.batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: it must be at least 1")
    if method.order not in get_args(Order):
        raise ConfigError(f"order={method.order!r}: it must be 'value' or 'magnitude'")


def eap(method: EAP, search: Search) -> Result:
    """Rank edges by their EAP scores."""
    return _ranked(method, search, eap_values(search, method.batch_size, method.prompts))


def eap_ig(method: EAPIG, search: Search) -> Result:
    """Rank edges by their EAP-IG scores."""
    values = eap_values(search, method.batch_size, method.prompts, method.steps)
    return _ranked(method, search, values)


def _ranked(method: EAP | EAPIG, search: Search, values: Float[Tensor, " E"]) -> Result:
    graph = search.model.graph
    scores = EdgeScores(graph, values.float().cpu().numpy(), order=method.order)
    return Result(scores, n_kept(graph, method.density, method.edges))


def eap_values(
    search: Search, batch_size: int, prompts: int | None = None, steps: int = 1
) -> Float[Tensor, " E"]:
    """Mean over training prompts of EAP-IG's scores in `steps` steps, signed; 1 step is EAP."""
    graph = search.model.graph
    count = len(search.task.examples("train"))
    count = min(count, prompts or count)
    total = torch.zeros(graph.n_edges, device=search.model.device)
    began = time.monotonic()
    at_most = min(batch_size, search.at_most or batch_size)
    share = Share(search.task, "train", range(count), at_most)
    for number, batch in enumerate(share, start=1):
        ready = prepare(search.model, batch, search.ablation, search.reference)
        total += _gradient(ready, steps)
        if search.progress is not None:
            done, seconds = round(count * number / len(share)), time.monotonic() - began
            left = seconds * (count - done) / done
            search.progress(
                {
                    "phase": "attribution",
                    "step": done,
                    "steps": count,
                    "seconds": seconds,
                    "seconds_left": left,
                }
            )
    total = runtime.total(total)
    if not torch.isfinite(total).all():
        raise NonFiniteError(
            "attribution gave NaN or infinite scores; load the model with dtype='float32'"
        )
    return total


def _gradient(ready: Prepared, steps: int) -> Float[Tensor, " E"]:
    """Weighted sum over a batch's prompts of the mean over steps of dM/dz at z = 1."""
    model, outer, run = ready.model, ready.outer, ready.run
    contrast = None if steps == 1 else differences(model, outer, run)
    z = torch.ones(model.graph.n_edges, device=model.device, requires_grad=True)
    total = torch.zeros_like(z)
    for step in range(1, steps + 1):
        pairs = zip(outer.embeddings, run.embeddings, strict=True)
        line = tuple(torch.lerp(other, clean, step / steps) for clean, other in pairs)
        mask = dense_mask(model.graph, z)
        at = replace(outer, embeddings=line)
        read = masked_read(model, mask, at, run, ready.index, contrast=contrast)
        metric = task_metric(model.head(read), ready.batch) @ ready.batch.prompt_weights
        total += torch.autograd.grad(metric, z)[0] / steps
    return total


def task_metric(logits: Float[Tensor, "A V"], batch: Batch) -> Float[Tensor, " B"]:
    """M of each prompt, at its first answer position."""
    rows = logits[batch.first].float()
    answer = rows.gather(1, batch.answers[batch.first][:, None])[:, 0]
    known = batch.distractors >= 0
    other = rows.gather(1, batch.distractors.clamp(min=0)[:, None])[:, 0]
    return torch.where(known, answer - other, answer - rows.logsumexp(-1))
