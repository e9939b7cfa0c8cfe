"""Where heads look, against the weights that Hugging Face's own eager attention gives."""

import numpy as np
import pytest
import torch
from torch import nn

import tiny
import toy
import zoo
from edgewise import patterns
from edgewise.circuit import Circuit
from edgewise.errors import GraphError
from edgewise.graph import Graph
from edgewise.models.model import Model
from edgewise.patterns import attention, busiest, of_samples
from edgewise.tasks import Example, Task

CLEAN, CORRUPTED = (3, 14, 15, 9, 26, 5, 35, 8, 9), (3, 2, 15, 38, 4, 6, 26, 4, 33)
EXAMPLE = Example(CLEAN, CORRUPTED, (8,), (1,))
# Heads that share keys, windows, ALiBi, biases on scores, scaled and capped scores, sinks, norms of
# queries and keys, fused projections; most of them have fewer channels than the prompt has tokens.
KINDS = (
    "gpt2",
    "gpt2 scaled-by-layer",
    "gpt_neo",
    "gptj",
    "gpt_bigcode mqa",
    "bloom",
    "mpt clipped",
    "falcon 7b alibi bias eager",
    "falcon 40b",
    "mistral window",
    "gemma2",
    "gemma3_text",
    "olmo2 mqa eager",
    "cohere qk-norms bias untied",
    "gpt_oss mqa no-bias",
)


def heads_of(model: Model) -> list[str]:
    return [name for name in model.graph.writers if name.startswith("a")]


def eager(hf: nn.Module, tokens: tuple[int, ...]) -> np.ndarray:
    """Weights (L H, T, T) by `transformers`."""
    found = hf(torch.tensor([tokens]), output_attentions=True).attentions
    return torch.cat([layer[0] for layer in found]).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_patterns_are_those_of_hugging_face(name):
    """Of the full model, of all edges, and of none under interchange: the corrupted prompt's."""
    model = zoo.model(name)
    hf = zoo.hugging_face(name, attn_implementation="eager")
    heads = heads_of(model)
    found = attention(model, Circuit.full(model.graph), EXAMPLE, heads)
    assert (found.tokens, found.heads) == (tuple(map(str, CLEAN)), tuple(heads))
    np.testing.assert_allclose(found.full, eager(hf, CLEAN), atol=1e-5)
    np.testing.assert_allclose(found.circuit, eager(hf, CLEAN), atol=1e-5)
    none = attention(model, Circuit.empty(model.graph), EXAMPLE, heads)
    np.testing.assert_allclose(none.full, eager(hf, CLEAN), atol=1e-5)
    np.testing.assert_allclose(none.circuit, eager(hf, CORRUPTED), atol=1e-5)


def test_a_circuit_s_patterns_are_of_what_its_readers_read():
    """Of layer 1 the queries alone read the clean run: a corrupted run with clean queries there."""
    model = zoo.model("llama gqa")
    graph = model.graph
    kept = [n for n in graph.writers if n.startswith("a0") or n in ("input", "m0")]
    below = [
        name for name in graph.names(np.arange(graph.n_edges)) if "->a0" in name or "->m0" in name
    ]
    queries = [f"{writer}->a1.h{head}<q>" for writer in kept for head in range(graph.n_heads)]
    found = attention(model, Circuit.of(graph, below + queries), EXAMPLE, heads_of(model))

    hf = zoo.hugging_face("llama gqa", attn_implementation="eager")
    projection, seen = hf.model.layers[1].self_attn.q_proj, []
    with projection.register_forward_hook(lambda *args: seen.append(args[-1])):
        eager(hf, CLEAN)
    with projection.register_forward_hook(lambda *_: seen[0]):
        expected = eager(hf, CORRUPTED)[graph.n_heads :]
    np.testing.assert_allclose(found.circuit[graph.n_heads :], expected, atol=1e-5)
    np.testing.assert_allclose(
        found.circuit[: graph.n_heads], eager(hf, CLEAN)[: graph.n_heads], atol=1e-5
    )
    assert np.abs(expected - eager(hf, CLEAN)[graph.n_heads :]).max() > 0.05


def test_nothing_to_read_is_looked_at_evenly():
    """Under zero ablation without biases every score is 0."""
    model = tiny.model("llama-gqa")
    found = attention(model, Circuit.empty(model.graph), EXAMPLE, ["a1.h5"], ablation="zero")
    rows = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None]
    np.testing.assert_allclose(found.circuit[0], rows, atol=1e-6)
    assert np.abs(found.full[0] - rows).max() > 0.05


def test_heads_are_those_asked_for_in_that_order():
    model = tiny.model("gpt2")
    circuit = Circuit.random(model.graph, 40, seed=0)
    every = attention(model, circuit, EXAMPLE, heads_of(model))
    found = attention(model, circuit, EXAMPLE, ["a1.h2", "a0.h0", "a1.h0"])
    for side in ("full", "circuit"):
        np.testing.assert_array_equal(getattr(found, side), getattr(every, side)[[5, 0, 3]])
    with pytest.raises(GraphError, match=r"no head 'm0': they are a0\.h0 to a1\.h2"):
        attention(model, circuit, EXAMPLE, ["m0"])


# Which are taken


def test_the_busiest_heads_come_first():
    graph = Graph(2, 4, 2)
    names = ["input->a0.h0<q>", "input->a0.h0<k>", "input->a0.h1<v>"]  # kv heads 0 and 1
    names += ["a0.h0->logits", "a0.h0->m0", "a0.h3->logits", "m0->logits", "a0.h2->a1.h0<q>"]
    # h0: <q>, <k>, two out. h3: the shared <v>, one out. h2's edge is dead, h1 writes nothing.
    assert busiest(Circuit.of(graph, names)) == ["a0.h0", "a0.h3"]
    assert busiest(Circuit.empty(graph)) == []


def test_samples_are_the_first_prompts_within_a_budget(monkeypatch):
    model = tiny.model("gpt2")
    prompts = tuple(toy.example(i) for i in range(3))
    task = Task("toy", {"train": prompts, "test": prompts}, pad_id=0)
    circuit = Circuit.full(model.graph)
    found = of_samples(model, task, circuit)
    assert [one.tokens for one in found] == [tuple(map(str, p.clean)) for p in prompts[:2]]
    assert all(set(one.heads) == set(heads_of(model)) for one in found)
    size = sum(2 * len(p.clean) * (len(p.clean) + 1) // 2 for p in prompts[:2])
    monkeypatch.setattr(patterns, "BUDGET", 3 * size - 1)
    found = of_samples(model, task, circuit, ablation="mean")
    assert found[0].heads == tuple(busiest(circuit)[:2])
    expected = attention(model, circuit, prompts[1], found[1].heads, ablation="zero")
    np.testing.assert_array_equal(found[1].full, expected.full)
    monkeypatch.setattr(patterns, "BUDGET", 1)
    assert of_samples(model, task, circuit) == ()
