"""Edge attribution patching: one gradient for all edges at once.

Of the metric M, higher when the model does the task, removing edge w -> r has the first-order
effect

    EAP        score = dM/dz_rw at z = 1 = sum_n <dM/dx_r, x_w - x~_w>     (Syed et al. 2310.10348)

    EAP-IG     the same gradient averaged over runs on a line from ablated to clean
               (Hanna et al. 2403.17806), of

      "inputs"       the embedding, contracted with the clean differences:
                     score = sum_n <1/S sum_s dM/dx_r |_{x~ + s/S (x - x~)}, x_w - x~_w>

      "activations"  what one component c writes (the embedding, the heads of a block together, an
                     MLP), all else clean. The mask entries of its edges say where on the line it
                     is, so that for every writer w of c
                     score = 1/S sum_s dM/dz_rw at z = s/S for the edges out of c, 1 for others

M is the logit difference of answer and distractor at the first answer token, or where there is no
distractor the log-probability of the whole answer; or, of prompts with sets of right and wrong
answers, their difference in probability. EAP-IG also takes M = -KL(full || run), as its authors
do: a line's last run is the full model, where KL has its minimum and no gradient, but not the
others. EAP has that run alone.

As S grows, the scores of all edges out of a component add up to M(full) - M(component ablated) with
"activations", and those of all edges out of the embedding to M(full) - M(corrupted) with "inputs".
The authors' code for activations (MIB, 2504.13151) takes for every edge the mean over all
components' runs, which adds up to nothing; here it is over those of the edge's own writer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import runtime
from edgewise.discovery.batches import in_order
from edgewise.discovery.found import Result, Search, check_fields, check_size
from edgewise.discovery.ranking import finite, ranked
from edgewise.discovery.trials import divergence
from edgewise.errors import ConfigError, DataError
from edgewise.gradient import FullRun
from edgewise.graph import Graph
from edgewise.metrics import probability_difference
from edgewise.prepared import Prepared
from edgewise.scores import Order
from edgewise.stream import dense_mask
from edgewise.tasks.example import Batch
from edgewise.tasks.sampling import Lazy
from edgewise.tasks.task import Task
from edgewise.workspace import Workspace

Variant = Literal["inputs", "activations"]
Metric = Literal["logit_difference", "probability_difference"]
MetricOrKL = Literal["logit_difference", "probability_difference", "kl"]


@dataclass(frozen=True)
class EAP:
    """Edge attribution patching over the training split.

    density, edges    size of the circuit: one of the two
    metric            "logit_difference" (the answer's log-probability where there is no
                      distractor) or "probability_difference", of right and wrong answers
    order             "magnitude" keeps edges of large effect either way, "value" those that help
    prompts           of the training split (None: all)
    batch_size        prompts at a time
    """

    name: ClassVar[str] = "eap"
    density: float | None = 0.02
    edges: int | None = None
    metric: Metric = "logit_difference"
    order: Order = "magnitude"
    prompts: int | None = None
    batch_size: int = 16

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, prompts=1, batch_size=1)
        check_size(self.density, self.edges, graph)


@dataclass(frozen=True)
class EAPIG:
    """EAP with integrated gradients over the training split.

    density, edges    size of the circuit: one of the two
    variant           "inputs": along the line from the corrupted to the clean embedding;
                      "activations": along that from each component's ablated to its clean write,
                      2 L + 1 times the work
    steps             runs on a line; 1 is EAP
    metric            as of `EAP`, or "kl", of at least 2 steps
    order             "magnitude" keeps edges of large effect either way, "value" those that help
    prompts           of the training split (None: all)
    batch_size        prompts at a time
    """

    name: ClassVar[str] = "eap-ig"
    density: float | None = 0.02
    edges: int | None = None
    variant: Variant = "inputs"
    steps: int = 5
    metric: MetricOrKL = "logit_difference"
    order: Order = "magnitude"
    prompts: int | None = None
    batch_size: int = 16

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, steps=1, prompts=1, batch_size=1)
        check_size(self.density, self.edges, graph)
        if self.metric == "kl" and self.steps == 1:
            raise ConfigError(
                "metric='kl' with steps=1: the one run is the full model, where KL has no "
                "gradient; take at least steps=2"
            )


def eap(method: EAP, search: Search) -> Result:
    """Rank edges by their EAP scores."""
    values = eap_values(search, method.batch_size, method.prompts, metric=method.metric)
    return ranked(search, values, method.density, method.edges, method.order)


def eap_ig(method: EAPIG, search: Search) -> Result:
    """Rank edges by their EAP-IG scores."""
    values = eap_values(
        search, method.batch_size, method.prompts, method.steps, method.variant, method.metric
    )
    return ranked(search, values, method.density, method.edges, method.order)


def eap_values(
    search: Search,
    batch_size: int,
    prompts: int | None = None,
    steps: int = 1,
    variant: Variant = "inputs",
    metric: MetricOrKL = "logit_difference",
) -> Float[Tensor, " E"]:
    """Mean over training prompts of EAP-IG's scores in `steps` steps, signed; 1 step is EAP."""
    total = torch.zeros(search.model.graph.n_edges, device=search.model.device)
    gradient = _along_inputs if variant == "inputs" or steps == 1 else _along_activations
    workspace = Workspace()
    for ready in in_order(search, batch_size, prompts, "attribution", full=metric == "kl"):
        total += gradient(ready, steps, metric, workspace)
    return finite(runtime.total(total))


def _along_inputs(
    ready: Prepared, steps: int, metric: MetricOrKL, workspace: Workspace
) -> Float[Tensor, " E"]:
    """Weighted sum over a batch's prompts of the mean over steps of dM/dz at z = 1."""
    model, outer, other = ready.model, ready.outer, ready.run
    clean = FullRun(model, outer, other, ready.own, ready.index, steps == 1)
    delta, total = clean.less(workspace, clean.slices), 0.0
    for step in range(1, steps + 1):
        run = clean
        if step < steps:
            pairs = zip(outer.embeddings, other.embeddings, strict=True)
            line = tuple(torch.lerp(theirs, ours, step / steps) for ours, theirs in pairs)
            inputs = replace(outer, embeddings=line)
            run = FullRun(model, inputs, other, ready.own, ready.index, graphs=True)
        read = run.read.requires_grad_()
        with torch.enable_grad():
            value = measured(metric, ready, model.head(read))
        (dread,) = torch.autograd.grad(value, read)
        total = total + run.gradient(dread, delta) / steps
    return total[torch.tensor(model.graph.valid, device=total.device)]


def _along_activations(
    ready: Prepared, steps: int, metric: MetricOrKL, workspace: Workspace
) -> Float[Tensor, " E"]:
    """Weighted sum over a batch's prompts of the mean over steps of dM/dz, as each edge's writer
    goes along its line."""
    graph = ready.model.graph
    writer_of = torch.tensor(graph.writer_of, device=ready.model.device)
    total = torch.zeros(graph.n_edges, device=ready.model.device)
    for component in _components(graph):
        own = (writer_of >= component.start) & (writer_of < component.stop)
        for step in range(1, steps + 1):
            z = torch.where(own, step / steps, 1.0).requires_grad_()
            logits = ready.logits(dense_mask(graph, z), workspace=workspace)
            value = measured(metric, ready, logits)
            total += torch.where(own, torch.autograd.grad(value, z)[0], 0.0) / steps
    return total


def _components(graph: Graph) -> Iterator[range]:
    """The writers of the embedding, then of each block's heads and its MLP."""
    if graph.embeddings != "free":
        yield range(graph.n_inputs)
    for layer in range(graph.n_layers):
        mlp = graph.mlp_writer(layer)
        yield range(graph.writers_before_attention(layer), mlp)
        yield range(mlp, mlp + 1)


def check_metric(metric: str, task: Task, prompts: int | None = None) -> None:
    """DataError where the first `prompts` of a task's training prompts (None: all) lack the sets
    of answers that a probability difference is of."""
    if metric != "probability_difference":
        return
    examples = task.examples("train")[:prompts]
    shown = examples[:1] if isinstance(examples, Lazy) else examples  # one rule makes them all
    lacking = sum(not (example.good or example.bad) for example in shown)
    if lacking:
        some = "the" if lacking == len(shown) else f"{lacking} of {len(shown)}"
        raise DataError(
            f"metric={metric!r}: {some} training prompts of {task.name!r} have no set of right or "
            "wrong answers. Use 'logit_difference', or list them (`answers`, `distractors`)"
        )


def measured(
    metric: MetricOrKL, ready: Prepared, logits: Float[Tensor, "A V"]
) -> Float[Tensor, ""]:
    """The weighted sum of M over a prepared batch's prompts."""
    return -divergence(ready, logits) if metric == "kl" else weighted(logits, ready.batch, metric)


def weighted(logits: Float[Tensor, "A V"], batch: Batch, metric: Metric) -> Float[Tensor, ""]:
    """The weighted sum of M over a batch's prompts."""
    return task_metric(logits, batch, metric) @ batch.prompt_weights


def task_metric(
    logits: Float[Tensor, "A V"], batch: Batch, metric: Metric = "logit_difference"
) -> Float[Tensor, " B"]:
    """M of each prompt, which has what M needs (`check_metric`)."""
    if metric == "probability_difference":
        return probability_difference(logits, batch)
    rows = logits.float()
    answer = rows.gather(1, batch.answers[:, None])[:, 0]
    whole = answer.new_zeros(len(batch)).index_add(0, batch.rows, answer - rows.logsumexp(-1))
    other = rows[batch.first].gather(1, batch.distractors.clamp(min=0)[:, None])[:, 0]
    return torch.where(batch.distractors >= 0, answer[batch.first] - other, whole)
