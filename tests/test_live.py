"""What a masked run leaves out because it is dead: no value changes, nor a live edge's gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import edgewise
import proofs
import tiny
from edgewise import stream, wiring
from edgewise.circuit import Circuit
from edgewise.counting import Counter
from edgewise.graph import Embeddings
from edgewise.models.model import Model, build
from edgewise.plan import plan
from programs import compiled
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


def begun_alike(*alike: int) -> tiny.Prompts:
    """Prompts of seven tokens, the first few of which are those of the corrupted ones."""
    given = tiny.prompts(shape=(len(alike), 7))
    for row, first in enumerate(alike):
        given.corrupted[row, :first] = given.clean[row, :first]
    return given


@each_model
def test_tokens_before_prompts_part_change_nothing_and_cost_nothing(name: str) -> None:
    """Also where prompts never part: then every mask gives the model's own logits."""
    model, flops, largest = tiny.model(name), [], []
    mask = tiny.random_mask(model)
    for alike in ((0, 0, 0), (2, 6, 7), (7, 7, 7)):
        given = begun_alike(*alike)
        assert proofs.value(model, mask, given, "interchange", live=True) < 1e-5
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        run = replace(run, layers=tuple(run.layers))
        outer, z = model.outer(given.clean), mask.clone().requires_grad_()
        with Counter() as counter:
            stream.masked_read(model, z, outer, run).sum().backward()
        flops.append(counter.flops)
        largest.append(z.grad.abs().max())
    assert largest[2] < 1e-5 * largest[0]
    assert flops[2] < flops[1] < 0.6 * flops[0]


def test_a_prompt_s_answer_before_it_parts_is_read() -> None:
    """There the logits are the model's own, whatever the mask."""
    model, given = tiny.model("llama-gqa"), begun_alike(4, 5)
    mask = tiny.random_mask(model)
    own = model.hf(input_ids=given.clean).logits.flatten(0, 1)
    for index in (torch.tensor([2]), torch.tensor([13, 2, 6, 8])):
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        found = tiny.engine_logits(model, mask, given, run, index)
        early = index % 7 < 4
        assert tiny.relative(found[early], own[index][early]) < 1e-5


def test_a_model_that_looks_ahead_has_no_such_tokens() -> None:
    """Every position of `reverse` depends on the last one, in which alone the prompts differ."""
    case = compiled("reverse")
    ids = case.task.batch("test", range(2)).input_ids
    other = ids.clone()
    other[:, -1] = ids[:, -2]
    none = torch.zeros(case.model.graph.n_edges)
    for circuit, expected in ((None, ids), (none, other)):
        found = edgewise.run(case.model, ids, circuit, counterfactual_ids=other)
        own = case.model.hf(input_ids=expected).logits
        assert tiny.relative(found, own) < 1e-5


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
