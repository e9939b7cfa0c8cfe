"""How alike a circuit and the full model are, and how well they answer: one number for each prompt.

    kl                      mean over answer positions of KL(full || circuit), in nats
    exact_match             1 if both predict the same token at every answer position
    exact_match_right       the same, on prompts that the full model answers right
    exact_match_wrong       the same, on prompts that it answers wrong
    accuracy                1 if every answer token is predicted
    logit_difference        answer minus distractor, in logits
    probability_difference  P(good answers) minus P(bad answers)
    probability_difference_10   the same over the ten nearest of each, where years are two digits
    kendall_tau             tau-b of the circuit's and the full model's order of the task's tokens

Where a task has a token set, predictions are among its tokens and probabilities are of them alone.
Differences and orders are read at the first answer position. A function returns the P prompts that
have the metric, in order: those without a distractor have no logit difference, and so on.

Shapes: A predicting positions of B prompts, V vocabulary, K tokens in the set.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from edgewise.ops.kl import kl_rows
from edgewise.tasks.example import Batch

METRICS = (
    "kl",
    "exact_match",
    "exact_match_right",
    "exact_match_wrong",
    "accuracy",
    "logit_difference",
    "probability_difference",
    "probability_difference_10",
    "kendall_tau",
)
YEARS = 100  # a token set of this size is the years "00".."99"


def measure(
    full: Float[Tensor, "A V"], circuit: Float[Tensor, "A V"], batch: Batch
) -> dict[str, Float[Tensor, " _"]]:
    """Every metric that some prompt of the batch has, from both models' logits."""
    match, right = exact_match(full, circuit, batch), accuracy(full, batch).bool()
    found = (
        kl(full, circuit, batch),
        match,
        match[right],
        match[~right],
        accuracy(circuit, batch),
        logit_difference(circuit, batch),
        probability_difference(circuit, batch),
        probability_difference_10(circuit, batch),
        kendall_tau(full, circuit, batch),
    )
    return {name: values for name, values in zip(METRICS, found, strict=True) if len(values)}


def kl(
    full: Float[Tensor, "A V"], circuit: Float[Tensor, "A V"], batch: Batch
) -> Float[Tensor, " B"]:
    """Mean over a prompt's answer positions of sum_v p_full (log p_full - log p_circuit)."""
    rows = kl_rows(full, circuit, batch.token_set)
    return _sums(rows, batch) / _counts(batch)


def exact_match(
    full: Float[Tensor, "A V"], circuit: Float[Tensor, "A V"], batch: Batch
) -> Float[Tensor, " B"]:
    """1 where the circuit predicts the full model's token at every answer position, else 0."""
    same = predicted(full, batch.token_set) == predicted(circuit, batch.token_set)
    return _everywhere(same, batch)


def accuracy(logits: Float[Tensor, "A V"], batch: Batch) -> Float[Tensor, " B"]:
    """1 where every answer token is predicted, else 0.

    A prompt with a set of good answers (Greater-Than: any later year) is answered right by each of
    them at its first position.
    """
    found = predicted(logits, batch.token_set)
    right = found == batch.answers
    if any(batch.good):
        rows, tokens = _flat(batch.good, found.device)
        among = torch.zeros(len(batch), dtype=torch.int64, device=found.device)
        among.index_add_(0, rows, (found[batch.first][rows] == tokens).long())
        has = _has(batch.good, found.device)
        right[batch.first[has]] = among[has] > 0
    return _everywhere(right, batch)


def logit_difference(logits: Float[Tensor, "A V"], batch: Batch) -> Float[Tensor, " P"]:
    """Logit of the answer minus that of its distractor, on prompts that have one."""
    has = batch.distractors >= 0
    at, wrong = batch.first[has], batch.distractors[has]
    return logits[at, batch.answers[at]].float() - logits[at, wrong].float()


def probability_difference(
    logits: Float[Tensor, "A V"], batch: Batch, nearest: int | None = None
) -> Float[Tensor, " P"]:
    """P(good) - P(bad), on prompts that have such sets; over the `nearest` of each if given."""
    probability = _probabilities(logits[batch.first], batch.token_set)
    total = probability.new_zeros(len(batch))
    for sign, sets in ((1, batch.good), (-1, batch.bad)):
        rows, tokens = _flat([one[:nearest] for one in sets], logits.device)
        total.index_add_(0, rows, sign * probability[rows, tokens])
    return total[_has(batch.good, logits.device) | _has(batch.bad, logits.device)]


def probability_difference_10(logits: Float[Tensor, "A V"], batch: Batch) -> Float[Tensor, " P"]:
    """P(up to ten years later) - P(up to ten years earlier), where the token set is "00".."99"."""
    if batch.token_set is None or len(batch.token_set) != YEARS:
        return logits.new_zeros(0, dtype=torch.float32)
    return probability_difference(logits, batch, nearest=10)


def kendall_tau(
    full: Float[Tensor, "A V"], circuit: Float[Tensor, "A V"], batch: Batch
) -> Float[Tensor, " P"]:
    """Kendall's tau-b between the two orders of the token set; none without a token set.

    tau-b = sum_{i<j} sign(x_i - x_j) sign(y_i - y_j) / sqrt(pairs untied in x * pairs untied in y),

    from logits, which have the order of the probabilities. 0 where all of one are equal.
    """
    if batch.token_set is None or len(batch.token_set) < 2:
        return full.new_zeros(0, dtype=torch.float32)
    x, y = (logits[batch.first][:, batch.token_set].float() for logits in (full, circuit))
    x, y = ((z[:, :, None] - z[:, None]).sign() for z in (x, y))
    both, untied = (x * y).sum((1, 2)), x.abs().sum((1, 2)) * y.abs().sum((1, 2))
    return torch.where(untied == 0, 0.0, both / untied.clamp(min=1).sqrt())


def predicted(
    logits: Float[Tensor, "A V"], token_set: Int[Tensor, " K"] | None
) -> Int[Tensor, " A"]:
    """The likeliest token, of those in the set if there is one; among equals the first."""
    if token_set is None:
        return logits.argmax(-1)
    return token_set[logits[:, token_set].argmax(-1)]


def _probabilities(
    logits: Float[Tensor, "B V"], token_set: Int[Tensor, " K"] | None
) -> Float[Tensor, "B V"]:
    """Softmax over the set, 0 outside it."""
    if token_set is None:
        return logits.float().softmax(-1)
    inside = logits[:, token_set].float().softmax(-1)
    return torch.zeros_like(logits, dtype=torch.float32).index_copy_(1, token_set, inside)


def _flat(sets: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompt and token of every member of every set."""
    pairs = [(b, token) for b, members in enumerate(sets) for token in members]
    rows, tokens = torch.tensor(pairs, dtype=torch.int64, device=device).view(-1, 2).unbind(1)
    return rows, tokens


def _has(sets: Sequence[tuple[int, ...]], device: torch.device) -> Bool[Tensor, " B"]:
    return torch.tensor([bool(members) for members in sets], device=device)


def _sums(values: Float[Tensor, " A"], batch: Batch) -> Float[Tensor, " B"]:
    """Sums over each prompt's positions."""
    return values.new_zeros(len(batch)).index_add_(0, batch.rows, values)


def _counts(batch: Batch) -> Float[Tensor, " B"]:
    """Answer positions of each prompt."""
    return _sums(torch.ones_like(batch.weights), batch)


def _everywhere(true: Bool[Tensor, " A"], batch: Batch) -> Float[Tensor, " B"]:
    return (_sums(true.float(), batch) == _counts(batch)).float()
