"""Evaluations against the Hugging Face model and `run`, one prompt at a time, by plain formulas."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
import tiny
from edgewise import evaluation
from edgewise.circuit import Circuit
from edgewise.errors import DataError
from edgewise.evaluation import evaluate
from edgewise.models.model import Model
from edgewise.prepared import reference_means
from edgewise.report import Report, Row
from edgewise.scores import EdgeScores
from edgewise.stream import run
from edgewise.tasks import Example, Task

N = 17  # prompts of the test split
Logits = Callable[[Example], Tensor]  # of one prompt, at its answer positions: (n, V)


def example(number: int) -> Example:
    """A prompt of 2 to 6 tokens, one or two of them answers; two in three have a distractor."""
    draw = np.random.default_rng([7, number])
    length, answers = draw.integers(2, 7), draw.integers(1, 3)
    clean, corrupted = (tuple(draw.integers(0, tiny.VOCABULARY, length).tolist()) for _ in "cc")
    return Example(
        clean=clean,
        corrupted=corrupted,
        positions=tuple(range(length - answers, length)),
        answers=tuple(draw.integers(0, tiny.VOCABULARY, answers).tolist()),
        distractor=None if number % 3 == 0 else int(draw.integers(0, tiny.VOCABULARY)),
    )


TASK = Task(
    "toy",
    {
        # as long as the longest of the test split, which per-position means need
        "train": tuple(example(i) for i in range(100, 120)),
        "test": tuple(example(i) for i in range(N)),
        "validation": (),
    },
    pad_id=0,
)
each_model = pytest.mark.parametrize("name", ["gpt2", "llama-gqa"])


def half(model: Model, seed: int = 0) -> Circuit:
    return Circuit.random(model.graph, model.graph.n_edges // 2, seed)


def ids(tokens: tuple[int, ...]) -> Tensor:
    return torch.tensor([tokens])


def plain(model: Model, of: str = "clean") -> Logits:
    """The Hugging Face model on the clean or the corrupted prompt, without a pad."""

    def logits(one: Example) -> Tensor:
        return oracle.forward(model.hf, ids(getattr(one, of)), None)[0, list(one.positions)]

    return logits


def masked(model: Model, circuit: Circuit, **settings: object) -> Logits:
    """`edgewise.run` on one prompt."""

    def logits(one: Example) -> Tensor:
        other = ids(one.corrupted)
        found = run(model, ids(one.clean), circuit, counterfactual_ids=other, **settings)
        return found[0, list(one.positions)]

    return logits


def by_hand(full: Logits, circuit: Logits, task: Task) -> dict[str, float]:
    """The metrics from their formulas, prompt by prompt, in float64."""
    found: dict[str, list[float]] = {}
    for one in task.examples("test"):
        p, q = (logits(one).double().log_softmax(-1) for logits in (full, circuit))
        kl = (p.exp() * (p - q)).sum(-1).mean().item()
        match = bool((p.argmax(-1) == q.argmax(-1)).all())
        correct = tuple(p.argmax(-1).tolist()) == one.answers
        values = {
            "kl": kl,
            "exact_match": match,
            "accuracy": tuple(q.argmax(-1).tolist()) == one.answers,
            f"exact_match_{'right' if correct else 'wrong'}": match,
        }
        if one.distractor is not None:
            values["logit_difference"] = (q[0, one.answers[0]] - q[0, one.distractor]).item()
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    averages = {name: float(np.mean(values)) for name, values in found.items()}
    spread = {"kl_p95": float(np.quantile(found["kl"], 0.95)), "kl_max": max(found["kl"])}
    return averages | spread


def answered(model: Model) -> Task:
    """The task with the model's own predictions for answers of every other prompt."""
    known = plain(model)
    prompts = (
        replace(one, answers=tuple(known(one).argmax(-1).tolist())) if number % 2 else one
        for number, one in enumerate(TASK.examples("test"))
    )
    return replace(TASK, splits={**TASK.splits, "test": tuple(prompts)})


def means(row: Row) -> dict[str, float]:
    return {name: estimate.mean for name, estimate in row.metrics.items()}


def close(expected: dict[str, float]) -> object:
    return pytest.approx(expected, rel=1e-4, abs=1e-4)


# Rows


@each_model
@pytest.mark.parametrize("kind", ["interchange", "mean", "zero"])
def test_the_circuit_s_row_is_of_run_s_logits(name: str, kind: str) -> None:
    model = tiny.model(name)
    circuit, task = half(model), answered(model)
    report = evaluate(model, task, circuit, ablation=kind, batch_size=5)
    settings = {"ablation": kind}
    if kind == "mean":
        settings["reference"] = reference_means(model, task)
    expected = by_hand(plain(model), masked(model, circuit, **settings), task)
    assert {"exact_match_right", "exact_match_wrong"} < set(expected)
    assert means(report.rows["circuit"]) == close(expected)
    assert (report.kl, report.exact_match) == close((expected["kl"], expected["exact_match"]))
    assert (report.edges, report.edges_alive) == (len(circuit), circuit.alive.sum())
    assert report.density == circuit.density


@each_model
def test_the_full_row_is_the_model(name: str) -> None:
    model = tiny.model(name)
    task = answered(model)
    full = evaluate(model, task, half(model)).rows["full"]
    assert means(full) == close(by_hand(plain(model), plain(model), task))
    assert 0 < full.metrics["accuracy"].mean < 1
    assert abs(full.metrics["kl_max"].mean) < 1e-6  # log-probabilities are rounded to float32
    assert full.metrics["exact_match"].mean == 1
    assert (full.edges, full.edges_alive, full.density) == (model.graph.n_edges,) * 2 + (1,)


@each_model
def test_the_empty_row_is_the_model_on_the_corrupted_prompt(name: str) -> None:
    model = tiny.model(name)
    empty = evaluate(model, TASK, half(model)).rows["empty"]
    assert means(empty) == close(by_hand(plain(model), plain(model, "corrupted"), TASK))
    assert (empty.edges, empty.edges_alive, empty.density) == (0, 0, 0)


def test_random_is_three_pooled_draws_of_the_circuit_s_size() -> None:
    model = tiny.model("gpt2")
    circuit = half(model)
    report = evaluate(model, TASK, circuit, seed=4)
    random = report.rows["random"]
    seeds = np.random.SeedSequence(4).generate_state(3).tolist()
    draws = [Circuit.random(model.graph, len(circuit), seed) for seed in seeds]
    rows = evaluate(model, TASK, circuit, baselines=dict(zip("abc", draws, strict=True))).rows
    for name in ("kl", "exact_match", "logit_difference"):
        alone = [rows[label].metrics[name].mean for label in "abc"]
        assert random.metrics[name].mean == pytest.approx(np.mean(alone))
    assert random.metrics["kl_max"].mean == max(rows[x].metrics["kl_max"].mean for x in "abc")
    assert random.edges == len(circuit)
    assert random.edges_alive == round(np.mean([draw.alive.sum() for draw in draws]))
    assert evaluate(model, TASK, circuit, seed=4) == report
    assert evaluate(model, TASK, circuit, seed=5).rows["random"] != random


def test_baselines_are_rows() -> None:
    model = tiny.model("gpt2")
    circuit, other = half(model), half(model, seed=1)
    report = evaluate(model, TASK, circuit, baselines={"eap": other, "same": circuit})
    assert list(report.rows) == ["circuit", "full", "empty", "random", "eap", "same"]
    assert report.rows["same"] == report.rows["circuit"]
    assert report.rows["eap"] == evaluate(model, TASK, other).rows["circuit"]
    assert "\neap " in str(report)


# How the split is cut


@each_model
def test_neither_batches_nor_padding_matter(name: str) -> None:
    """In one batch all but the longest prompts are padded, alone none is."""
    model = tiny.model(name)
    alone, few, whole = (evaluate(model, TASK, half(model), batch_size=n) for n in (1, 4, 100))
    for report in (few, whole):
        for label, row in alone.rows.items():
            for metric, estimate in row.metrics.items():
                found = report.rows[label].metrics[metric]
                ours, theirs = ((e.mean, e.low, e.high) for e in (found, estimate))
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5), (label, metric)
        assert [s.prompt for s in report.samples] == [s.prompt for s in alone.samples]


def test_the_fixed_runs_are_made_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = tiny.model("gpt2"), []

    def counted(*args: object) -> object:
        made.append(args)
        return prepare(*args)

    prepare = evaluation.prepare
    monkeypatch.setattr(evaluation, "prepare", counted)
    scores = EdgeScores(model.graph, np.arange(model.graph.n_edges, dtype=np.float32))
    evaluate(model, TASK, half(model), batch_size=6, scores=scores, samples=0)
    assert len(made) == 3


def test_progress_is_told_of_every_batch() -> None:
    model, told = tiny.model("gpt2"), []
    evaluate(model, TASK, half(model), batch_size=8, progress=told.append)
    assert told == [{"step": i, "steps": 3} for i in (1, 2, 3)]


# Token sets


def test_a_token_set_and_answer_sets() -> None:
    """Predictions among five tokens; the good ones are 3 and 9, the bad one is 20."""
    model = tiny.model("llama-gqa")
    token_set = (3, 9, 14, 20, 33)
    ranked = tuple(
        replace(one, answers=(3,) * len(one.answers), good=(3, 9), bad=(20,))
        for one in TASK.examples("test")
        if len(one.answers) == 1
    )
    task = Task("toy", {"test": ranked}, pad_id=0, token_set=token_set)
    circuit = half(model)
    report = evaluate(model, task, circuit, samples=100)
    p = torch.cat([plain(model)(one)[:, list(token_set)] for one in ranked]).softmax(-1)
    q = torch.cat([masked(model, circuit)(one)[:, list(token_set)] for one in ranked]).softmax(-1)
    found = means(report.rows["circuit"])
    assert found["kl"] == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)
    difference = q[:, 0] + q[:, 1] - q[:, 3]
    assert found["probability_difference"] == pytest.approx(difference.mean().item(), rel=1e-4)
    assert found["accuracy"] == pytest.approx((q.argmax(-1) < 2).float().mean().item())
    assert found["exact_match"] == pytest.approx(
        (p.argmax(-1) == q.argmax(-1)).float().mean().item()
    )
    assert "probability_difference_10" not in found
    assert "kendall_tau" in found
    assert report.rows["full"].metrics["kendall_tau"].mean == pytest.approx(1)
    assert {int(text) for s in report.samples for text, _ in s.circuit} == set(token_set)
    assert sum(probability for _, probability in report.samples[0].full) == pytest.approx(1)


def test_what_the_task_can_t_have_is_absent() -> None:
    model = tiny.model("gpt2")
    bare = tuple(replace(one, distractor=None) for one in TASK.examples("test"))
    report = evaluate(model, Task("toy", {"test": bare}, pad_id=0), half(model))
    measured = {"kl", "kl_p95", "kl_max", "exact_match", "accuracy"}
    possible = measured | {"exact_match_right", "exact_match_wrong"}
    assert measured < set(report.rows["circuit"].metrics) <= possible
    with pytest.raises(DataError, match="no metric 'logit_difference'"):
        _ = report.logit_difference


# Samples


def test_samples_show_what_both_predict() -> None:
    model = tiny.model("llama-gqa")
    circuit = half(model)
    report = evaluate(model, TASK, circuit, samples=6, batch_size=4)
    assert len(report.samples) == 6
    for sample, one in zip(report.samples, TASK.examples("test"), strict=False):
        first = one.positions[0]
        assert sample.prompt == " ".join(map(str, one.clean[: first + 1]))
        assert sample.corrupted == " ".join(map(str, one.corrupted[: first + 1]))
        assert sample.answer == " ".join(map(str, one.answers))
        for shown, logits in (
            (sample.full, plain(model)),
            (sample.circuit, masked(model, circuit)),
        ):
            best = logits(one)[0].softmax(-1).topk(5)
            assert [text for text, _ in shown] == [str(t) for t in best.indices.tolist()]
            assert [p for _, p in shown] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert evaluate(model, TASK, circuit, samples=0).samples == ()


def test_samples_are_text_where_there_is_a_tokenizer() -> None:
    class Letters:
        def decode(self, tokens: list[int], clean_up_tokenization_spaces: bool) -> str:
            assert not clean_up_tokenization_spaces
            return "".join(chr(ord("A") + token) for token in tokens)

    model = replace(tiny.model("gpt2"), tokenizer=Letters())
    (sample,) = evaluate(model, TASK, half(model), samples=1).samples
    one = TASK.examples("test")[0]
    assert [ord(c) - ord("A") for c in sample.prompt] == list(one.clean[: one.positions[0] + 1])
    assert all(len(text) == 1 for text, _ in sample.full)


# The report


def test_reports_survive_json() -> None:
    model = tiny.model("gpt2")
    scores = EdgeScores(model.graph, np.arange(model.graph.n_edges, dtype=np.float32))
    report = evaluate(model, TASK, half(model), scores=scores, densities=(0.3,))
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert (report.model, report.task, report.split) == ("gpt2", "toy", "test")
    assert (report.n_prompts, report.n_edges) == (N, model.graph.n_edges)
    assert report.ablation == "interchange"


def test_mean_ablation_is_of_the_training_split_s_corrupted_prompts() -> None:
    """Or of what is given."""
    model = tiny.model("gpt2")
    circuit = half(model)
    report = evaluate(model, TASK, circuit, ablation="mean")
    given = reference_means(model, TASK, batch_size=3)
    assert evaluate(model, TASK, circuit, ablation="mean", reference=given).kl == pytest.approx(
        report.kl, rel=1e-5
    )
    swapped = tuple(
        replace(one, clean=one.corrupted, corrupted=one.clean) for one in TASK.examples("train")
    )
    other = replace(TASK, splits={**TASK.splits, "train": swapped})
    assert evaluate(model, other, circuit, ablation="mean").kl != pytest.approx(report.kl, rel=1e-3)
    over_positions = reference_means(model, TASK, per_position=False)
    found = evaluate(model, TASK, circuit, ablation="mean", reference=over_positions)
    assert found.kl != pytest.approx(report.kl, rel=1e-3)
    with pytest.warns(UserWarning, match="reference has no effect on zero ablation"):
        evaluate(model, TASK, circuit, ablation="zero", reference=given)
