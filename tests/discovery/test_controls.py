"""The controls: a random ranking, and one by size alone."""

import math

import numpy as np
import pytest
import torch

import oracle
import tiny
import toy
from edgewise.discovery import Magnitude, Random, discover

TASK = toy.task(5)


def test_random_is_drawn_by_the_seed():
    model = tiny.model("gpt2")
    edges = model.graph.n_edges
    found = [discover(model, TASK, Random(density=0.4), seed=seed) for seed in (0, 0, 1)]
    assert found[0].circuit == found[1].circuit != found[2].circuit
    assert len(found[0].circuit) == 30
    assert sorted(found[2].scores.values) == list(range(edges))


def test_every_edge_is_as_likely():
    """The mean place of an edge over seeds is (E - 1) / 2, give or take 5 standard errors."""
    model, method = tiny.model("gpt2-one-head"), Random(density=1.0)
    places = [discover(model, TASK, method, seed=seed).scores.values for seed in range(60)]
    edges = model.graph.n_edges
    error = math.sqrt((edges**2 - 1) / 12 / 60)
    assert np.abs(np.mean(places, 0) - (edges - 1) / 2).max() < 5 * error


@pytest.mark.parametrize(
    ("name", "embeddings", "ablation"),
    [
        ("gpt2", "split", "interchange"),
        ("parallel", "joint", "zero"),
        ("post-norm", "free", "mean"),
    ],
)
def test_magnitude_is_the_difference_s_share_of_the_stream(name, embeddings, ablation):
    """By hooks, prompt by prompt; a per-position mean over the corrupted prompts."""
    model = tiny.model(name, embeddings)
    setting, graph = tiny.setting(model), model.graph
    prompts = TASK.splits["train"]
    clean, other = (
        [torch.tensor([getattr(p, side)]) for p in prompts] for side in ("clean", "corrupted")
    )
    total = np.zeros((graph.n_readers, graph.n_writers))
    for ids, corrupted in zip(clean, other, strict=True):
        if ablation == "interchange":
            ablated = oracle.plain(setting, corrupted)
        elif ablation == "zero":
            ablated = oracle.nothing(setting, ids)
        else:
            ablated = oracle.mean(setting, [(o, None) for o in other], ids, per_position=True)
        writes, streams = oracle.plain(setting, ids).writes, oracle.streams(setting, ids)
        for w, (x, x_other) in enumerate(zip(writes, ablated.writes, strict=True)):
            size = tiny.seen(model, (x - x_other)[0]).norm(dim=-1)
            for r, stream in enumerate(streams):
                share = size / tiny.seen(model, stream[0]).norm(dim=-1)
                total[r, w] += share.mean().item() / len(prompts)
    found = discover(model, TASK, Magnitude(density=0.7, batch_size=2), ablation=ablation)
    expected = total[graph.reader_of, graph.writer_of]
    np.testing.assert_allclose(found.scores.values, expected, rtol=1e-4)
    assert len(found.circuit) == round(0.7 * graph.n_edges)


def test_magnitude_looks_at_as_many_prompts_as_asked():
    model = tiny.model("gpt2-one-head")
    some = discover(model, toy.task(9), Magnitude(density=1.0, prompts=5)).scores.values
    np.testing.assert_array_equal(some, discover(model, TASK, Magnitude(density=1.0)).scores.values)
