"""Attribution against interventions: finite differences, the oracle, and integrals along a line."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
import tiny
import toy
from edgewise.discovery import EAP, EAPIG, ExactPatching, discover
from edgewise.discovery.attribution import Metric, task_metric
from edgewise.errors import ConfigError, DataError, NonFiniteError
from edgewise.models.model import Model
from edgewise.prepared import reference_means
from edgewise.stream import run
from edgewise.tasks import Example, Task
from edgewise.tasks.example import collate
from unchecked import unchecked

TASK = toy.task(4)
STEP = 2.0**-12  # 1 - STEP and 1 + STEP are exact in float32, which masks are
EXACT = 1e-6  # float64 but for the scores themselves, which are float32, and STEP squared


def scores(
    model: Model, task: Task = TASK, method: EAP | EAPIG | None = None, **also: str
) -> np.ndarray:
    """Signed scores of every edge."""
    method = replace(method or EAP(), density=1.0, order="value")
    return discover(model, task, method, **also).scores.values.astype(np.float64)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, over the largest score."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def metric(logits: Tensor, one: Example) -> Tensor:
    """M of a prompt's logits (T, V), in their own precision: by sets of answers, if it has any."""
    if one.good:
        at = logits[one.positions[0]].softmax(-1)
        return at[list(one.good)].sum() - at[list(one.bad)].sum()
    if one.distractor is None:
        return logits.log_softmax(-1)[one.positions, one.answers].sum()
    row = logits[one.positions[0]]
    return row[one.answers[0]] - row[one.distractor]


def divergence(full: Tensor, logits: Tensor, one: Example) -> Tensor:
    """KL(full || run), the mean over a prompt's answer positions, in their own precision."""
    p, q = (rows[list(one.positions)].log_softmax(-1) for rows in (full, logits))
    return (p.exp() * (p - q)).sum(-1).mean()


def ids(tokens: tuple[int, ...]) -> Tensor:
    return torch.tensor([tokens])


# EAP


@pytest.mark.parametrize("ablation", ["interchange", "mean", "zero"])
def test_a_score_is_the_first_order_effect_of_removing_the_edge(ablation):
    """By `run` in float64: (M(1 + h) - M(1 - h)) / 2h, edge by edge."""
    model = tiny.model("gpt2", dtype=torch.float64)
    settings = {"ablation": ablation}
    batch = TASK.batch("train", range(len(TASK.splits["train"])))
    if ablation == "interchange":
        settings["counterfactual_ids"] = batch.counterfactual_ids
    elif ablation == "mean":
        settings["reference"] = reference_means(model, TASK)

    def mean(mask: Tensor) -> float:
        logits = run(model, batch.input_ids, mask, attention_mask=batch.attention_mask, **settings)
        pairs = zip(logits, TASK.splits["train"], strict=True)
        return sum(metric(rows, one).item() for rows, one in pairs) / len(batch)

    found = scores(model, ablation=ablation)
    chosen = range(0, model.graph.n_edges, 3)
    expected = []
    for edge in chosen:
        masks = torch.ones(2, model.graph.n_edges)
        masks[:, edge] += torch.tensor([STEP, -STEP])
        expected.append((mean(masks[0]) - mean(masks[1])) / (2 * STEP))
    assert error(found[chosen], np.array(expected)) < EXACT


@pytest.mark.parametrize("chosen_metric", get_args(Metric))
def test_the_same_by_the_oracle(chosen_metric):
    """Which shares no code with the engine."""
    task = toy.judged(4) if chosen_metric == "probability_difference" else TASK
    model = tiny.model("gpt2", dtype=torch.float64)
    setting, graph = tiny.setting(model), model.graph
    found = scores(model, task, EAP(metric=chosen_metric))
    chosen = range(1, graph.n_edges, 6)
    expected = np.zeros(len(chosen))
    for one in task.splits["train"]:
        other = oracle.interchange(setting, ids(one.corrupted))
        for i, edge in enumerate(chosen):
            at = graph.reader_of[edge], graph.writer_of[edge]
            values = []
            for z in (1 + STEP, 1 - STEP):
                mask = torch.from_numpy(graph.causal.astype(np.float64))
                mask[at] = z
                logits = oracle.run(setting, mask, ids(one.clean), other).logits[0]
                values.append(metric(logits, one).item())
            expected[i] += (values[0] - values[1]) / (2 * STEP) / len(task.splits["train"])
    assert error(found[chosen], expected) < EXACT


@pytest.mark.parametrize("name", ["llama-gqa", "parallel", "post-norm"])
def test_other_architectures_by_the_oracles_own_gradient(name):
    model = tiny.model(name)
    setting, graph = tiny.setting(model), model.graph
    mask = torch.from_numpy(graph.causal.astype(np.float32)).requires_grad_()
    for one in TASK.splits["train"]:
        other = oracle.interchange(setting, ids(one.corrupted))
        logits = oracle.run(setting, mask, ids(one.clean), other).logits[0]
        (metric(logits, one) / len(TASK.splits["train"])).backward()
    expected = mask.grad.numpy()[graph.reader_of, graph.writer_of]
    assert error(scores(model), expected) < 1e-4


@pytest.mark.parametrize("method", [EAP(), EAPIG(steps=3)])
def test_batches_do_not_matter(method):
    """Prompts of other lengths, pads, uneven last batches: the mean is over prompts."""
    model = tiny.model("gpt2", dtype=torch.float64)
    task = toy.task(7)
    whole = scores(model, task, replace(method, batch_size=7))
    for size in (1, 3, 100):
        assert error(scores(model, task, replace(method, batch_size=size)), whole) < 1e-6


def test_prompts_are_the_first_of_the_split():
    model = tiny.model("gpt2")
    found = scores(model, toy.task(7), EAP(prompts=4, batch_size=3))
    assert error(found, scores(model, TASK, EAP(batch_size=3))) == 0
    more = scores(model, TASK, EAP(prompts=1000))
    assert error(more, scores(model, TASK)) == 0


def test_scores_keep_their_signs_and_rank_by_magnitude_or_value():
    model = tiny.model("gpt2")
    signed = scores(model)
    found = discover(model, TASK, EAP(density=None, edges=10))
    np.testing.assert_array_equal(found.scores.values, signed.astype(np.float32))
    assert found.scores.order == "magnitude"
    assert found.scores.top(10) == found.circuit
    assert set(np.flatnonzero(found.circuit.kept)) == set(np.argsort(-np.abs(signed))[:10])
    helping = discover(model, TASK, EAP(density=None, edges=10, order="value"))
    assert set(np.flatnonzero(helping.circuit.kept)) == set(np.argsort(-signed)[:10])
    assert signed.min() < 0


# EAP-IG


def test_one_step_of_eap_ig_is_eap():
    model = tiny.model("gpt2")
    assert error(scores(model, method=EAPIG(steps=1)), scores(model)) == 0


@pytest.mark.parametrize(
    ("name", "dtype", "allowed"),
    [("gpt2", torch.float64, EXACT), ("llama-gqa", torch.float32, 1e-4)],
)
@pytest.mark.parametrize(
    ("steps", "chosen_metric"), [(2, "logit_difference"), (5, "logit_difference"), (3, "kl")]
)
def test_eap_ig_by_its_definition(name, dtype, allowed, steps, chosen_metric):
    """sum_n <mean over s of dM/dx_r on the line, x_w - x~_w>, by hooks on the model."""
    model = tiny.model(name, dtype=dtype)
    setting, graph = tiny.setting(model), model.graph
    expected = np.zeros((graph.n_readers, graph.n_writers))
    for one in TASK.splits["train"]:
        clean, other = (oracle.plain(setting, ids(t)) for t in (one.clean, one.corrupted))
        gradient = [torch.zeros_like(clean.writes[0])] * graph.n_readers
        for s in range(1, steps + 1):
            line = torch.lerp(other.writes[0], clean.writes[0], s / steps)
            logits, reads = on_the_line(setting, line, one)
            value = metric(logits, one)
            if chosen_metric == "kl":
                value = -divergence(clean.logits[0].detach(), logits, one)
            parts = torch.autograd.grad(value, reads)
            gradient = [g + part / steps for g, part in zip(gradient, parts, strict=True)]
        for r, w in zip(graph.reader_of, graph.writer_of, strict=True):
            difference = clean.writes[w] - other.writes[w]
            expected[r, w] += (gradient[r] * difference).sum().item() / len(TASK.splits["train"])
    found = scores(model, method=EAPIG(steps=steps, metric=chosen_metric))
    assert error(found, expected[graph.reader_of, graph.writer_of]) < allowed


def on_the_line(setting: oracle.Setting, stream: Tensor, one: Example) -> tuple[Tensor, list]:
    """Logits of the unmasked model that starts from `stream`, and what its readers read."""

    def replaced(_: object, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (stream, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": stream}

    handle = setting.blocks[0].register_forward_pre_hook(replaced, with_kwargs=True)
    graph = setting.graph
    ones = torch.ones(graph.n_readers, graph.n_writers, dtype=stream.dtype, requires_grad=True)
    nothing = oracle.nothing(setting, ids(one.clean))
    try:
        found = oracle.run(setting, ones, ids(one.clean), nothing)
    finally:
        handle.remove()
    return found.logits[0], found.reads


class TestCompleteness:
    """Every reader reads the embedding, so its edges' scores in S steps add up to a Riemann sum,

        1/S sum_s M'(s / S)    M(a) the model on embeddings a of the way from corrupted to clean

    which goes to M(1) - M(0), the clean model's metric less the corrupted run's, as 1/S.
    """

    @staticmethod
    def from_input(model: Model, steps: int, task: Task = TASK) -> float:
        values = scores(model, task, EAPIG(steps=steps))
        return values[model.graph.writer_of == 0].sum()

    @staticmethod
    def at(model: Model, one: Example, share: Tensor) -> Tensor:
        """M(a) by the Hugging Face model, which adds positions to token embeddings itself."""
        table = model.hf.get_input_embeddings().weight
        clean, other = (table[list(tokens)][None] for tokens in (one.clean, one.corrupted))
        logits = model.hf(inputs_embeds=other + share * (clean - other), use_cache=False).logits
        return metric(logits[0], one)

    @pytest.mark.parametrize("steps", [1, 3])
    def test_the_sum(self, steps):
        model = tiny.model("gpt2", dtype=torch.float64)
        expected = 0.0
        for one in TASK.splits["train"]:
            for s in range(1, steps + 1):
                share = torch.tensor(s / steps, dtype=torch.float64, requires_grad=True)
                (slope,) = torch.autograd.grad(self.at(model, one, share), share)
                expected += slope.item() / steps / len(TASK.splits["train"])
        assert self.from_input(model, steps) == pytest.approx(expected, rel=1e-5)

    def test_its_limit(self):
        model = tiny.model("gpt2", dtype=torch.float64)
        task = toy.task(2)
        ends = [torch.tensor(a, dtype=torch.float64) for a in (1.0, 0.0)]
        with torch.no_grad():
            change = [
                self.at(model, one, ends[0]) - self.at(model, one, ends[1])
                for one in task.splits["train"]
            ]
        exact = sum(c.item() for c in change) / len(change)
        left = {s: abs(self.from_input(model, s, task) - exact) for s in (1, 10, 40)}
        assert left[1] > 10 * left[40], left
        assert left[10] == pytest.approx(4 * left[40], rel=0.3), left
        assert left[40] < 0.02 * abs(exact), (left, exact)

    def test_the_divergence_of_the_corrupted_run_is_shared_out(self):
        """Of KL(full || run), M(1) is 0, and M(0) compares the two prompts' own predictions."""
        model, task = tiny.model("gpt2"), toy.task(2)
        exact = 0.0
        for one in task.splits["train"]:
            with torch.no_grad():
                full, other = (
                    model.hf(input_ids=ids(tokens), use_cache=False).logits[0].double()
                    for tokens in (one.clean, one.corrupted)
                )
            exact += divergence(full, other, one).item() / 2
        left = []
        for steps in (10, 40):
            values = scores(model, task, EAPIG(steps=steps, metric="kl"))
            left.append(values[model.graph.writer_of == 0].sum() - exact)
        assert exact > 0.01
        assert abs(left[0]) == pytest.approx(4 * abs(left[1]), rel=0.3), (left, exact)
        assert abs(left[1]) < 0.05 * exact, (left, exact)


# The metric


def test_the_metric_by_hand():
    """A logit difference at the first answer token, or a log-probability of all of them."""
    with_distractor = Example((1, 2, 3), (3, 2, 1), (1, 2), (0, 3), distractor=2)
    without = Example((1, 2, 3), (3, 2, 1), (1, 2), (1, 3))
    batch = collate([with_distractor, without], pad_id=0)
    third, fourth = ([math.log(p) for p in row] for row in ([2, 4, 1, 1], [8, 1, 6, 1]))
    logits = torch.tensor([[5.0, 1.0, 2.0, 0.0], [9.0, 9.0, 9.0, -9.0], third, fourth])
    found = task_metric(logits, batch)
    assert found.tolist() == pytest.approx([5.0 - 2.0, math.log(4 / 8 * 1 / 16)])
    assert task_metric(logits + 100, batch).tolist() == pytest.approx(found.tolist(), abs=1e-4)


def test_the_difference_in_probability_by_hand():
    ask = "probability_difference"
    both = Example((1, 2), (2, 1), (1,), (0,), good=(0, 1), bad=(3,))
    row = torch.tensor([[math.log(p) for p in (2, 4, 1, 1)]])
    assert task_metric(row, collate([both], pad_id=0), ask).tolist() == pytest.approx([5 / 8])


def test_the_metric_of_16_bit_logits_is_float32():
    batch = collate([Example((1, 2), (2, 1), (1,), (1,))], pad_id=0)
    assert task_metric(torch.zeros(1, 4, dtype=torch.bfloat16), batch).dtype == torch.float32


# What is refused


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(value):
    model = toy.fresh()
    model.hf.transformer.h[1].mlp.c_proj.weight[0, 0] = value
    with pytest.raises(NonFiniteError, match="dtype='float32'"):
        discover(model, TASK, EAP())


@pytest.mark.parametrize("method", [EAP, EAPIG, ExactPatching])
def test_prompts_without_the_sets_of_a_difference_in_probability_are_refused(method, tmp_path):
    judged, plain = toy.judged(2).splits["train"], TASK.splits["train"]
    ask, out = method(density=1.0, metric="probability_difference"), tmp_path / "run"
    some = replace(TASK, splits={"train": (judged[0], plain[0])})
    for task, said in ((some, "1 of 2 training prompts"), (TASK, "the training prompts of")):
        with pytest.raises(DataError, match=f"metric='probability_difference': {said}"):
            discover(tiny.model("gpt2"), task, ask, out=out)
    assert not out.exists()
    discover(tiny.model("gpt2"), some, replace(ask, prompts=1), out=out)


def test_an_order_that_there_is_not_is_refused():
    with unchecked(), pytest.raises(ConfigError, match="order='best'"):
        discover(tiny.model("gpt2"), TASK, EAP(order="best"))


# While waiting


def test_progress_of_every_batch():
    seen = []
    discover(tiny.model("gpt2"), toy.task(7), EAP(density=1.0, batch_size=3), progress=seen.append)
    assert [record["step"] for record in seen] == [2, 5, 7]  # even pieces
    assert {record["steps"] for record in seen} == {7}
    assert {record["phase"] for record in seen} == {"attribution"}
    assert all(record["seconds"] >= 0 and record["seconds_left"] >= 0 for record in seen)
    assert seen[-1]["seconds_left"] == 0
