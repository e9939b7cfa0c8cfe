"""ACDC (Conmy et al., arXiv 2304.14997): remove every edge whose removal costs little.

Readers are visited in reverse topological order, and each edge into a reader is tried once:

    remove e  iff  KL(full || circuit without e) - KL(full || circuit) < threshold          (nats)

The result depends on the order of what the topology leaves open, the heads of one block among
themselves as readers and as writers; the seed of `discover` draws it. Writers are tried from the
latest to the earliest.

An edge into r changes nothing before r, so trials begin at r and share all that comes before
(`suffix`), and several of one reader are run together, with the same result as one after another
(`greedy`), but for rounding. A reader from which no kept edge leads on to the logits can't change
them: its edges are removed untried, at a rise of 0.

An edge's score is the rise of the KL at its trial. That puts every kept edge above every removed
one; among either it compares removals from different circuits, so another size cut from the scores
is no circuit of ACDC's: take another threshold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise.discovery.found import Result, Search, check_fields
from edgewise.discovery.greedy import decide
from edgewise.discovery.journal import Journal
from edgewise.discovery.trials import Trials, divergence
from edgewise.errors import ConfigError, NonFiniteError
from edgewise.graph import Graph
from edgewise.plan import plan
from edgewise.scores import EdgeScores
from edgewise.stream import as_mask


@dataclass(frozen=True)
class ACDC:
    """Remove each edge whose removal raises the KL by less than a threshold.

    threshold    nats; the only control of the circuit's size
    prompts      of the training split (None: all), held in memory together
    batch_size   prompts at a time
    trials       removals that are tried together, on `batch_size` prompts each
    """

    name: ClassVar[str] = "acdc"
    threshold: float = 0.01
    prompts: int | None = 32
    batch_size: int = 16
    trials: int = 8

    def check(self, graph: Graph | None = None) -> None:
        check_fields(self, prompts=1, batch_size=1, trials=1)
        if self.threshold <= 0:
            raise ConfigError(
                f"threshold={self.threshold}: it must be above 0, such as 0.01: no removal lowers "
                "the KL of the full model, which is 0"
            )


def acdc(method: ACDC, search: Search) -> Result:
    """Visit every reader, from the last checkpoint if there is one."""
    run = _Pruning(method, search)
    for reader, edges in visits(search.model.graph, search.seed):
        if not run.decided[edges].all():
            run.visit(reader, edges)
    return run.result()


def visits(graph: Graph, seed: int) -> Iterator[tuple[int, Int[np.ndarray, " e"]]]:
    """Readers that have edges, the latest first, each with its edges, the latest writer first.

    Those of one time, the heads of a block, come in an order drawn from the seed.
    """
    # The embedding writes at time 0, a block's heads read and write at an odd one, its MLP next.
    written, read = np.zeros(graph.n_writers), np.full(graph.n_readers, 2 * graph.n_layers + 1)
    for layer in range(graph.n_layers):
        time, mlp = 2 * layer + 1, graph.mlp_writer(layer)
        read[graph.attention_readers(layer)] = time
        written[graph.writers_before_attention(layer) : mlp] = time
        read[graph.mlp_reader(layer)] = written[mlp] = time + 1
    generator = np.random.default_rng(seed)
    writers = np.lexsort((generator.random(graph.n_writers), -written))
    place = np.argsort(writers)
    for reader in np.lexsort((generator.random(graph.n_readers), -read)).tolist():
        edges = np.array(graph.edges_into(reader), int)
        if len(edges):
            yield reader, edges[np.argsort(place[graph.writer_of[edges]])]


def leads_on(graph: Graph, mask: Float[Tensor, "R W"], reader: int) -> bool:
    """Whether the edges that a mask keeps lead from a reader to the logits."""
    if reader == graph.logits_reader:
        return True
    layer, row = graph.place(reader)
    open_ = (mask != 0).cpu().numpy() & graph.causal
    live = plan(graph, open_, from_inputs=False).layers[layer]
    return live.mlp if reader == graph.mlp_reader(layer) else row in live.readers


class _Pruning:
    """Which edges are still there, what the trials gave, and the batches they are run on."""

    def __init__(self, method: ACDC, search: Search):
        model, graph = search.model, search.model.graph
        self.method, self.graph = method, graph
        self.decided = np.zeros(graph.n_edges, bool)
        self.removed = np.zeros(graph.n_edges, bool)
        self.rises = np.zeros(graph.n_edges)
        self.mask = as_mask(model, None)
        self.trials = Trials(search, method.batch_size, method.prompts, method.trials)
        self.journal = Journal(search, "pruning", graph.n_edges)
        saved = self.journal.restore()
        if saved is None:
            (self.kl,) = self._kl(graph.logits_reader, [[]])
        else:
            self._restore(*saved[1:])

    def visit(self, reader: int, edges: Int[np.ndarray, " e"]) -> None:
        """Decide about every edge into a reader, and write that down."""
        if leads_on(self.graph, self.mask, reader):
            found = decide(
                lambda removed: self._kl(reader, removed),
                edges.tolist(),
                self.kl,
                self.method.threshold,
                self.method.trials,
            )
            self.removed[found.removed], self.kl = True, found.value
            self.rises[list(found.rises)] = list(found.rises.values())
        else:
            self.removed[edges] = True
        self.decided[edges] = True
        self._cut()
        self._write()

    def _kl(self, reader: int, removed: list[list[int]]) -> list[float]:
        """KL(full || circuit) with each list of the reader's edges removed, mean over prompts."""
        found = self.trials.measure(divergence, self.mask, reader, removed)
        if not np.isfinite(found).all():
            raise NonFiniteError(
                f"trials of edges into {self.graph.readers[reader]}: the KL became NaN or "
                "infinite; load the model with dtype='float32'"
            )
        return found

    def _cut(self) -> None:
        """Take the removed edges out of the mask."""
        rows, columns = self.graph.reader_of[self.removed], self.graph.writer_of[self.removed]
        self.mask[rows, columns] = 0

    def _write(self) -> None:
        """A record, and a checkpoint."""
        kept = int((~self.removed).sum())
        arrays = {"decided": self.decided, "removed": self.removed, "rises": self.rises}
        self.journal.write(
            int(self.decided.sum()),
            {name: torch.from_numpy(array) for name, array in arrays.items()},
            kl=self.kl,
            edges=kept,
            density=kept / self.graph.n_edges,
        )

    def _restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Take over the decisions of a checkpoint."""
        self.decided, self.removed, self.rises = (
            tensors[name].numpy() for name in ("decided", "removed", "rises")
        )
        self.kl = float(record["kl"])
        self._cut()

    def result(self) -> Result:
        """Rises as scores; rounded to float32 they stay on their side of the threshold."""
        threshold, rises = np.float32(self.method.threshold), self.rises.astype(np.float32)
        below = np.nextafter(threshold, np.float32(-np.inf))
        values = np.where(self.removed, np.minimum(rises, below), np.maximum(rises, threshold))
        kept = int((~self.removed).sum())
        return Result(EdgeScores(self.graph, values), kept, tuple(self.journal.history))
