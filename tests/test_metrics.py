"""Metrics of distributions small enough to work out by hand."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from edgewise import metrics
from edgewise.tasks.example import Batch, Example, collate

HALVES = [1 / 2, 1 / 4, 1 / 4]
FLAT = [1 / 3, 1 / 3, 1 / 3]
SURE = [1 / 4, 1 / 4, 1 / 2]


def logits(*distributions: list[float], shift: float = 0.0) -> Tensor:
    """Logits of the distributions, moved by a constant that must not matter."""
    return torch.tensor(distributions).log() + shift


def batch(*answers: tuple[int, ...], token_set: tuple[int, ...] | None = None, **sets) -> Batch:
    """A prompt for each tuple of answers, predicted from its second token on."""
    examples = []
    for number, tokens in enumerate(answers):
        n = len(tokens) + 1
        ids = tuple(range(n))
        own = {name: values[number] for name, values in sets.items()}
        examples.append(Example(ids, ids, tuple(range(1, n)), tokens, **own))
    return collate(examples, pad_id=0, token_set=token_set)


def test_kl_in_logarithms():
    # 1/2 log(1/2 * 3) + 2 * 1/4 log(1/4 * 3)
    expected = log(3 / 2) / 2 + log(3 / 4) / 2
    found = metrics.kl(logits(HALVES, shift=5.0), logits(FLAT), batch((0,)))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    # 1/2 log(1/2 * 4) + 1/4 log 1 + 1/4 log(1/4 * 2)
    found = metrics.kl(logits(HALVES), logits(SURE), batch((0,)))
    assert found.item() == pytest.approx(log(2) / 2 - log(2) / 4, rel=1e-6)


def test_kl_is_the_mean_over_a_prompt_s_positions():
    full = logits(HALVES, HALVES, HALVES)
    circuit = logits(SURE, HALVES, SURE)
    found = metrics.kl(full, circuit, batch((0, 1), (2,)))
    assert found.tolist() == pytest.approx([log(2) / 8, log(2) / 4], rel=1e-6)


def test_kl_over_a_token_set_is_of_the_renormalised_distributions():
    # (1/2, 1/4) -> (2/3, 1/3) and (1/4, 1/4) -> (1/2, 1/2)
    expected = 2 / 3 * log(4 / 3) + 1 / 3 * log(2 / 3)
    found = metrics.kl(logits(HALVES), logits(SURE), batch((0,), token_set=(0, 1)))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_every_answer_position_must_match_and_be_right():
    full = logits(HALVES, SURE, HALVES, SURE)  # predict 0, 2, 0, 2
    circuit = logits(HALVES, HALVES, HALVES, SURE)  # predict 0, 0, 0, 2
    given = batch((0, 0), (0,), (1,))
    assert metrics.exact_match(full, circuit, given).tolist() == [0, 1, 1]
    assert metrics.accuracy(full, given).tolist() == [0, 1, 0]
    assert metrics.accuracy(circuit, given).tolist() == [1, 1, 0]
    found = metrics.measure(full, circuit, given)
    assert found["exact_match_right"].tolist() == [1]
    assert found["exact_match_wrong"].tolist() == [0, 1]


def test_predictions_are_among_the_token_set():
    full, circuit = logits([0.6, 0.3, 0.1]), logits([0.2, 0.7, 0.1])
    assert metrics.exact_match(full, circuit, batch((1,))).tolist() == [0]
    assert metrics.exact_match(full, circuit, batch((1,), token_set=(2, 1))).tolist() == [1]
    assert metrics.accuracy(full, batch((1,))).tolist() == [0]
    assert metrics.accuracy(full, batch((1,), token_set=(2, 1))).tolist() == [1]


def test_any_good_answer_is_right_and_later_positions_are_the_answer_s():
    at = logits(HALVES, SURE, HALVES, HALVES)  # predict 0, 2, 0, 0
    given = batch((1, 2), (1,), (0,), good=((0, 1), (1, 2), ()))
    assert metrics.accuracy(at, given).tolist() == [1, 0, 1]


def test_logit_difference_is_of_the_prompts_with_a_distractor():
    values = torch.tensor([[3.0, 1.0, 0.5], [9.0, 9.0, 9.0], [0.0, 1.0, 4.0], [2.0, 0.0, 7.0]])
    given = batch((0, 0), (1,), (1,), distractor=(2, None, 2))
    assert metrics.logit_difference(values, given).tolist() == [2.5, -7.0]


def test_probability_difference_of_answer_sets():
    p = logits([0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.4, 0.3, 0.2, 0.1])
    given = batch((2,), (0,), (3,), good=((2, 3), (), (3,)), bad=((1, 0), (), ()))
    assert metrics.probability_difference(p, given).tolist() == pytest.approx([0.4, 0.1])
    restricted = replace(given, token_set=torch.tensor([0, 3]))
    # (.1, .4) -> (.2, .8); token 2 is outside and counts for nothing
    found = metrics.probability_difference(p, restricted)
    assert found.tolist() == pytest.approx([0.8 - 0.2, 0.2])


def years(shown: int, probabilities: np.ndarray) -> tuple[Tensor, Batch]:
    """A prompt that shows year `shown`; token 100 - v writes year v, and others write none."""
    tokens = tuple(100 - v for v in range(100))
    given = batch(
        (tokens[shown + 1],),
        token_set=tokens,
        good=(tokens[shown + 1 :],),
        bad=(tokens[:shown][::-1],),
    )
    values = torch.full((1, 130), 50.0)
    values[0, list(tokens)] = torch.from_numpy(probabilities).float().log()
    return values, given


@pytest.mark.parametrize("shown", [3, 42, 95])
def test_years_within_ten_are_clamped_to_the_century(shown):
    p = np.arange(1.0, 101)
    p /= p.sum()
    values, given = years(shown, p)
    later, earlier = p[shown + 1 :], p[:shown]
    near_later, near_earlier = p[shown + 1 : shown + 11], p[max(0, shown - 10) : shown]
    found = metrics.measure(values, values, given)
    assert found["probability_difference"].item() == pytest.approx(
        later.sum() - earlier.sum(), abs=1e-6
    )
    assert found["probability_difference_10"].item() == pytest.approx(
        near_later.sum() - near_earlier.sum(), abs=1e-6
    )
    assert found["accuracy"].item() == 1  # 99 is likeliest, and later than any shown


def test_tens_digits_have_no_difference_within_ten():
    given = batch((2,), token_set=(0, 1, 2), good=((2,),), bad=((0,),))
    assert "probability_difference" in metrics.measure(logits(SURE), logits(SURE), given)
    assert len(metrics.probability_difference_10(logits(SURE), given)) == 0


def test_tau_by_counting_pairs():
    # y has one of its six pairs the other way round, and one tied: (4 - 1) / sqrt(6 * 5)
    x, y = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[2.0, 1, 3, 3]])
    given = batch((0,), token_set=(0, 1, 2, 3))
    assert metrics.kendall_tau(x, y, given).item() == pytest.approx(3 / 30**0.5)
    assert metrics.kendall_tau(x, x, given).item() == 1
    assert metrics.kendall_tau(x, -x, given).item() == -1
    assert metrics.kendall_tau(x, torch.zeros_like(x), given).item() == 0


def test_tau_is_scipy_s():
    generator = torch.Generator().manual_seed(0)
    full, circuit = torch.randint(0, 30, (2, 5, 130), generator=generator).float() / 7
    token_set = tuple(range(10, 110))
    found = metrics.kendall_tau(full, circuit, batch(*[(10,)] * 5, token_set=token_set))
    p, q = (z[:, 10:110].double().softmax(-1).numpy() for z in (full, circuit))
    expected = [kendalltau(a, b).statistic for a, b in zip(p, q, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_differences_and_orders_are_read_at_the_first_position():
    first, second = [0.1, 0.2, 0.7], [0.7, 0.2, 0.1]
    given = batch((2, 0), token_set=(0, 1, 2), distractor=(0,), good=((2,),), bad=((0,),))
    once = batch((2,), token_set=(0, 1, 2), distractor=(0,), good=((2,),), bad=((0,),))
    found = metrics.measure(logits(first, second), logits(first, FLAT), given)
    alone = metrics.measure(logits(first), logits(first), once)
    for name in ("logit_difference", "probability_difference", "kendall_tau"):
        assert found[name].tolist() == alone[name].tolist()


def test_metrics_that_a_task_can_t_have_are_absent():
    found = metrics.measure(logits(HALVES), logits(FLAT), batch((0,)))
    assert set(found) == {"kl", "exact_match", "exact_match_right", "accuracy"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_any_dtype_gives_float32(dtype):
    given = batch((2,), token_set=(0, 1, 2), distractor=(0,), good=((2,),), bad=((0,),))
    found = metrics.measure(logits(HALVES).to(dtype), logits(SURE).to(dtype), given)
    assert {values.dtype for values in found.values()} == {torch.float32}
    assert found["kl"].item() == pytest.approx(log(2) / 4, rel=0.02)
