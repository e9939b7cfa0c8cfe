"""ACDC's removals a second against the plain loop, a whole masked run for each removal.

    python benchmarks/removals.py [--layers 12] [--heads 12] [--width 768] [--vocabulary 50257]
        [--prompts 16] [--tokens 16] [--density 0.1] [--readers 8] [--edges 24] [--trials 8]
        [--threads 2] [--write]

On a random model of GPT-2 small's shape. Readers spread over the search's order are visited as ACDC
would visit them: earlier readers keep all their edges, later ones those of EAP's circuit of the
given density. Each reader's first edges are decided about in both ways, in turn; the KLs
of the removals must agree; in how many readers all decisions do is said: the edges of a random
model do so little that rounding decides some. The plain loop too leaves out what the mask leaves
dead. --write puts what comes out into docs/scaling.md.
"""

import argparse
import time

import torch
from table import fill
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise
from edgewise.discovery.acdc import leads_on, visits
from edgewise.discovery.greedy import Decided, decide
from edgewise.models.model import Model
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare
from edgewise.stream import as_mask
from edgewise.suffix import Suffix
from edgewise.tasks import Example, Task

WRONG = 1e-5  # more than what float32's rounding makes of a KL, over that of the corrupted prompts


def random_model(given: argparse.Namespace) -> Model:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=given.layers,
        n_head=given.heads,
        n_embd=given.width,
        vocab_size=given.vocabulary,
        bos_token_id=0,
        eos_token_id=0,
    )
    return edgewise.adapt(GPT2LMHeadModel(config))


def random_task(given: argparse.Namespace) -> Task:
    """One answer at the end of each prompt, a random token as all others."""
    shape = (given.prompts, 2, given.tokens)
    drawn = torch.randint(given.vocabulary, shape, generator=torch.Generator().manual_seed(0))
    examples = [
        Example(tuple(clean), tuple(other), (given.tokens - 1,), (clean[0],), other[0])
        for clean, other in drawn.tolist()
    ]
    return Task("random tokens", {"train": examples}, pad_id=0)


class Both:
    """A batch, and the KL of removals measured in either way."""

    def __init__(self, model: Model, task: Task, given: argparse.Namespace):
        batch = task.batch("train", range(given.prompts))
        self.graph, self.ready = model.graph, prepare(model, batch)
        self.suffix = Suffix(self.ready)
        self.given = given
        self.empty = self.kl(self.ready.logits(0 * as_mask(model, None), live=True))
        self.threshold = self.empty / model.graph.n_edges

    def kl(self, logits: torch.Tensor) -> float:
        return (kl_rows(self.ready.full, logits) * self.ready.batch.weights).sum().item()

    def rows(self, mask: torch.Tensor, reader: int, removed: list[list[int]]) -> torch.Tensor:
        rows = mask[reader].repeat(len(removed), 1)
        for row, edges in zip(rows, removed, strict=True):
            row[self.graph.writer_of[edges]] = 0
        return rows

    def ours(self, mask: torch.Tensor, reader: int, edges: list[int], now: float) -> Decided:
        def measured(removed: list[list[int]]) -> list[float]:
            rows = self.rows(mask, reader, removed)
            return [self.kl(logits) for logits in self.suffix.logits(mask, reader, rows)]

        return decide(measured, edges, now, self.threshold, self.given.trials)

    @torch.no_grad()
    def error(self, mask: torch.Tensor, reader: int, found: Decided) -> float:
        """How far the KL that `ours` ended at is from that of a masked run without those edges,
        over the KL of the corrupted prompts."""
        whole = mask.clone()
        (whole[reader],) = self.rows(mask, reader, [found.removed])
        return abs(found.value - self.kl(self.ready.logits(whole, live=True))) / self.empty

    @torch.no_grad()
    def plain(self, mask: torch.Tensor, reader: int, edges: list[int], now: float) -> Decided:
        def measured(removed: list[list[int]]) -> list[float]:
            whole = mask.clone()
            (whole[reader],) = self.rows(mask, reader, removed)
            return [self.kl(self.ready.logits(whole, live=True))]

        return decide(measured, edges, now, self.threshold, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sizes = {"layers": 12, "heads": 12, "width": 768, "vocabulary": 50257, "prompts": 16}
    sizes |= {"tokens": 16, "readers": 8, "edges": 24, "trials": 8, "threads": 2}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, task = random_model(given), random_task(given)
    method = edgewise.EAP(density=given.density, batch_size=given.prompts)
    kept = as_mask(model, edgewise.discover(model, task, method).circuit)
    both, mask = Both(model, task, given), as_mask(model, None)
    order, states = list(visits(model.graph, 0)), []
    for place, (reader, edges) in enumerate(order):
        if place % max(1, len(order) // given.readers) == 0 and leads_on(model.graph, mask, reader):
            states.append((mask.clone(), reader, edges[: given.edges].tolist()))
        mask[reader] = kept[reader]
    tried = removed = alike = 0
    error = 0.0
    seconds = {"ours": 0.0, "plain": 0.0}
    for mask, reader, edges in states:
        with torch.no_grad():
            now = both.kl(both.ready.logits(mask, live=True))
        found = {}
        for name, way in (("ours", both.ours), ("plain", both.plain)):
            began = time.perf_counter()
            found[name] = way(mask, reader, edges, now)
            seconds[name] += time.perf_counter() - began
        error = max(error, both.error(mask, reader, found["ours"]))
        alike += found["ours"].removed == found["plain"].removed
        tried, removed = tried + len(edges), removed + len(found["ours"].removed)
    assert error < WRONG, f"the KL of removals is off by {error:.1e} of the corrupted prompts'"
    ours, plain = tried / seconds["ours"], tried / seconds["plain"]
    said = (
        f"{given.layers} layers of {given.heads} heads, width {given.width}, {given.prompts} x "
        f"{given.tokens} tokens: {tried} trials into {len(states)} readers, {removed} removed, "
        f"all decided alike in {alike} readers, KL within {error:.0e}; "
        f"{ours:.2f} a second, plain loop {plain:.2f}, ratio {ours / plain:.2f}."
    )
    print(said)
    if given.write:
        fill("removals", said, given.threads)


if __name__ == "__main__":
    main()
