"""EAP-IG along activations: by the oracle's gradients, and adding up to what ablation does."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracle
import tiny
import toy
from edgewise.discovery import EAP, EAPIG, discover
from edgewise.discovery.attribution import MetricOrKL, task_metric
from edgewise.errors import ConfigError
from edgewise.models.model import Model
from edgewise.tasks import Task
from unchecked import unchecked

TASK = toy.task(2)


def scores(
    model: Model,
    steps: int,
    task: Task = TASK,
    metric: MetricOrKL = "logit_difference",
    **also: str,
) -> np.ndarray:
    method = EAPIG(1.0, order="value", variant="activations", steps=steps, metric=metric)
    return discover(model, task, method, **also).scores.values.astype(np.float64)


def components(model: Model) -> list[list[int]]:
    """Writers that are on the line together: the embedding, heads of one layer, each MLP."""
    groups: dict[str, list[int]] = {}
    for writer, name in enumerate(model.graph.writers):
        groups.setdefault(name.split(".")[0] if name[0] in "am" else "input", []).append(writer)
    return list(groups.values())


@pytest.mark.parametrize(
    ("name", "embeddings", "ablation", "task", "metric"),
    [
        ("gpt2", "split", "interchange", TASK, "logit_difference"),
        ("llama-gqa", "joint", "zero", toy.judged(2), "probability_difference"),
        ("gpt2", "joint", "interchange", TASK, "kl"),
    ],
)
def test_by_its_definition(name, embeddings, ablation, task, metric):
    """<mean over s of dM/dx_r where the component's writes are on the line, x_w - x~_w>."""
    model, steps = tiny.model(name, embeddings), 2
    setting, graph = tiny.setting(model), model.graph
    expected = np.zeros((graph.n_readers, graph.n_writers))
    causal = torch.tensor(graph.causal).float()
    for index in range(2):
        batch = task.batch("train", [index])
        ids = batch.input_ids
        other = oracle.nothing(setting, ids)
        if ablation == "interchange":
            other = oracle.interchange(setting, batch.counterfactual_ids)
        clean = oracle.plain(setting, ids)
        for group in components(model):
            for step in range(1, steps + 1):
                mask = causal.clone()
                mask[:, group] *= step / steps
                found = oracle.run(setting, mask.requires_grad_(), ids, other)
                logits = found.logits[batch.rows, batch.cols]
                if metric == "kl":
                    p = clean.logits[batch.rows, batch.cols].detach().log_softmax(-1)
                    value = (p.exp() * (logits.log_softmax(-1) - p)).sum(-1).mean()
                else:
                    value = task_metric(logits, batch, metric).sum()
                slopes = torch.autograd.grad(value, found.reads)
                for w in group:
                    line = clean.writes[w] - other.writes[w]
                    for r in np.flatnonzero(graph.causal[:, w]):
                        expected[r, w] += (slopes[r] * line).sum().item() / steps / 2
    found = scores(model, steps, task, metric, ablation=ablation)
    expected = expected[graph.reader_of, graph.writer_of]
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


class TestCompleteness:
    """The scores out of a component go to M(full) - M(component ablated), as 1 / S."""

    @staticmethod
    def effects(model: Model) -> list[float]:
        """By exchanging a module's output in the Hugging Face model for the corrupted run's."""
        base = model.hf.transformer
        parts = [base.drop, *(part for block in base.h for part in (block.attn, block.mlp))]
        batches = [TASK.batch("train", [i]) for i in range(2)]
        return [sum(effect(model, part, batch) / 2 for batch in batches) for part in parts]

    def test_of_every_component(self):
        model = tiny.model("gpt2", dtype=torch.float64)
        effects = np.array(self.effects(model))
        left = {}
        for steps in (5, 20):
            values = scores(model, steps)
            sums = [values[np.isin(model.graph.writer_of, g)].sum() for g in components(model)]
            left[steps] = np.abs(np.array(sums) - effects)
        scale = np.abs(effects).max()
        assert left[20].max() < 0.05 * scale, (left, effects)
        assert left[20].sum() == pytest.approx(left[5].sum() / 4, rel=0.3), (left, effects)


@torch.no_grad()
def effect(model: Model, part: nn.Module, batch: object) -> float:
    """M with a module as it is, less M with its output on the corrupted prompt."""

    def measured(ids: Tensor, hook: object = None) -> float:
        handle = part.register_forward_hook(hook) if hook is not None else None
        try:
            logits = model.hf(input_ids=ids, use_cache=False).logits
        finally:
            if handle is not None:
                handle.remove()
        return task_metric(logits[batch.rows, batch.cols].double(), batch).sum().item()

    kept: list = []
    measured(batch.counterfactual_ids, lambda _, __, output: kept.append(output))
    return measured(batch.input_ids) - measured(batch.input_ids, lambda *_: kept[0])


def test_one_step_is_eap():
    model = tiny.model("gpt2")
    eap = discover(model, TASK, EAP(density=1.0, order="value"))
    np.testing.assert_array_equal(scores(model, 1), eap.scores.values)


def test_a_free_embedding_has_no_scores():
    model = tiny.model("gpt2", "free")
    assert np.isfinite(scores(model, 2)).all()


def test_a_variant_that_there_is_not_is_refused():
    with unchecked(), pytest.raises(ConfigError, match="variant='weights': it must be 'inputs' or"):
        discover(tiny.model("gpt2"), TASK, EAPIG(variant="weights"))
