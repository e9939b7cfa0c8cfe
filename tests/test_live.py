"""What a masked run leaves out because it is dead: no value changes, nor a live edge's gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import proofs
import tiny
from edgewise import stream, wiring
from edgewise.circuit import Circuit
from edgewise.counting import Counter
from edgewise.graph import Embeddings
from edgewise.models.model import Model, build
from edgewise.plan import plan
from test_stream import KINDS, PADDINGS, each_case, each_kind, each_model, sparse_mask


@each_case
@pytest.mark.parametrize("density", [0.0, 0.06, 0.15, 0.4])
def test_leaving_out_dead_parts_changes_no_value(
    name: str, embeddings: str, density: float
) -> None:
    model = tiny.model(name, embeddings)
    for seed, (kind, padding) in enumerate(zip(KINDS, PADDINGS, strict=True)):
        mask = sparse_mask(model, density, seed)
        given = tiny.prompts(padding)
        assert proofs.value(model, mask, given, kind, live=True) < 1e-5


@each_model
@each_kind
def test_gradients_of_live_edges_stay_exact(name: str, kind: str) -> None:
    dtype = torch.float32 if name in tiny.FLOAT32_ONLY else torch.float64
    model, given = tiny.model(name, dtype=dtype), tiny.prompts("right")
    seen = 0
    for seed, density in enumerate([0.1, 0.2, 0.3, 0.5]):
        mask = sparse_mask(model, density, seed)
        found = []
        for live in (True, False):
            z = mask.clone().requires_grad_()
            run, _ = tiny.ablated(model, kind, given, with_oracle=False)
            logits = tiny.engine_logits(model, z, given, run, live=live)
            (logits * torch.linspace(-1, 1, logits.shape[1])).sum().backward()
            found.append(z.grad)
        part, whole = found
        between_live = live_entries(model, mask, kind)
        computed = between_live & (mask != 0)
        seen += int(computed.sum())
        if computed.any():
            bound = 1e-10 if name in tiny.EXACT else 1e-4
            assert tiny.relative(part[computed], whole[computed]) < bound
        assert not part[~between_live].any()
        kept = (mask != 0).numpy()[model.graph.valid]
        alive = torch.from_numpy(model.graph.dense(wiring.alive(model.graph, kept), 0.0))
        assert computed[alive].all()
    assert seen > 10


def test_what_dead_writers_save_goes_to_graphs_of_mlps() -> None:
    """A sparse run computes its MLPs once, where a whole one does it again in the backward pass;
    and takes no more memory."""
    family, make = tiny.MODELS["llama-gqa"]
    model, given = build(make(), None, "llama", family, "joint"), tiny.prompts("none")
    calls: list[int] = []
    for number, block in enumerate(model.blocks):
        block.mlp[0].register_forward_hook(lambda *_, number=number: calls.append(number))
    run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    run = replace(run, layers=tuple(run.layers))
    peaks, times = [], []
    for density in (0.1, 1.0):
        z = sparse_mask(model, density, 1).requires_grad_()
        calls.clear()
        with Counter() as counter:
            tiny.engine_logits(model, z, given, run, live=True).sum().backward()
        peaks.append(sum(counter.peak.values()))
        times.append({calls.count(number) for number in calls})
    assert times == [{1}, {2}]
    assert peaks[0] <= peaks[1]


def live_entries(model: Model, mask: Tensor, kind: str) -> Tensor:
    """Entries of the mask between live readers and live writers."""
    graph = model.graph
    open_ = (mask != 0).numpy() & graph.causal
    work = plan(graph, open_, from_inputs=kind == "interchange")
    readers = np.zeros(graph.n_readers, bool)
    readers[graph.logits_reader] = True
    for layer, todo in enumerate(work.layers):
        readers[graph.attention_readers(layer).start + todo.readers] = True
        readers[graph.mlp_reader(layer)] = todo.mlp
    return torch.from_numpy(readers[:, None] & work.live & graph.causal)


@pytest.mark.parametrize("name", ["post-norm", "post-norm-only", "llama-gqa"])
@pytest.mark.parametrize("embeddings", ["joint", "free"])
def test_dead_edges_change_nothing_under_interchange(name: str, embeddings: Embeddings) -> None:
    model, given = tiny.model(name, embeddings, torch.float64), tiny.prompts("right")
    pair = {"counterfactual_ids": given.corrupted, "attention_mask": given.mask}
    n_dead = 0
    for seed in range(12):
        circuit = Circuit.random(model.graph, model.graph.n_edges * (seed % 4 + 1) // 12, seed)
        pruned = circuit.pruned()
        n_dead += len(circuit) - len(pruned)
        whole, part = (stream.run(model, given.clean, each, **pair) for each in (circuit, pruned))
        assert tiny.relative(part, whole) < 1e-12
    assert n_dead > 10
