"""Runs that begin at a reader, against the whole masked run of each."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import tiny
import toy
from edgewise.models.model import Model
from edgewise.prepared import prepare, reference_means
from edgewise.suffix import Suffix
from edgewise.tasks.task import Task

EXAMPLES = [
    replace(one, corrupted=one.clean[:alike] + one.corrupted[alike:])
    for alike, one in enumerate(toy.task(4).examples("train"))
]
TASK = Task("toy", {"train": EXAMPLES}, pad_id=0, description={"task": "toy"})
CASES = [
    ("gpt2", "split", "interchange"),
    ("gpt2-scaled", "free", "zero"),
    ("llama-gqa", "joint", "mean"),
    ("llama-mqa", "joint", "interchange"),
    ("parallel", "joint", "interchange"),
    ("parallel", "joint", "zero"),
    ("post-norm", "joint", "interchange"),
    ("post-norm-only", "joint", "mean"),
    ("multiplier", "joint", "zero"),
]


def mask_for(model: Model, reader: int, density: float, seed: int) -> Tensor:
    """Every edge before the reader's half of its block, and some of the others' after it."""
    graph = model.graph
    layer, _ = graph.place(reader)
    start = reader
    if reader not in (graph.logits_reader, graph.mlp_reader(min(layer, graph.n_layers - 1))):
        start = graph.attention_readers(layer).start
    causal = torch.tensor(graph.causal)
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(causal.shape, generator=generator) < density
    kept |= torch.tensor(~graph.valid)
    kept[:start] = kept[reader] = True
    return (causal & kept).float()


@pytest.mark.parametrize(("name", "embeddings", "ablation"), CASES)
def test_runs_from_a_reader_are_whole_runs(name, embeddings, ablation):
    """Each with another row, of any density, on padded prompts of several answers, which part from
    their corrupted ones at the first, second, third and fourth token."""
    model = tiny.model(name, embeddings)
    graph, task = model.graph, TASK
    reference = reference_means(model, task) if ablation == "mean" else None
    ready = prepare(model, task.batch("train", range(4)), ablation, reference)
    suffix = Suffix(ready)
    free = torch.tensor(graph.causal & ~graph.valid)
    for number, reader in enumerate([*range(0, graph.n_readers, 3), graph.mlp_reader(0)]):
        mask = mask_for(model, reader, (0.4, 0.1, 1.0)[number % 3], reader)
        generator = torch.Generator().manual_seed(reader)
        kept = torch.rand(2, graph.n_writers, generator=generator) < 0.5
        rows = mask[reader] * (kept | free[reader])
        found = suffix.logits(mask, reader, rows)
        for row, logits in zip(rows, found, strict=True):
            mask[reader] = row
            assert tiny.relative(logits, ready.logits(mask)) < 1e-5, graph.readers[reader]


def test_fractions_in_float64():
    model = tiny.model("gpt2", dtype=torch.float64)
    ready = prepare(model, TASK.batch("train", range(4)))
    suffix, reader = Suffix(ready), model.graph.q_reader(1, 2)
    mask = mask_for(model, reader, 0.5, 0).double()
    generator = torch.Generator().manual_seed(0)
    rows = mask[reader] * torch.rand(3, model.graph.n_writers, generator=generator).double()
    for row, logits in zip(rows, suffix.logits(mask, reader, rows), strict=True):
        mask[reader] = row
        assert tiny.relative(logits, ready.logits(mask)) < 1e-12
