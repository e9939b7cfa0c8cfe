"""One prompt with its counterfactual, and a batch of them as tensors.

A position *predicts* when the loss is read there: it is the index of the token just before an
answer token. With answer tokens y_1..y_n after a prompt of k tokens the predicting positions are
k-1, ..., k+n-2, and the example is cut after the last of them, because no later token can be seen
from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """Token ids of a clean prompt and its corrupted twin, and where and what is predicted.

    `clean` and `corrupted` are equally long and end at the last predicting position.
    `distractor` competes with `answers[0]` (logit difference). `good` and `bad` are sets of right
    and wrong answers (probability difference), nearest to the truth first.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    positions: tuple[int, ...]
    answers: tuple[int, ...]
    distractor: int | None = None
    good: tuple[int, ...] = ()
    bad: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert self.positions
        assert len(self.positions) == len(self.answers)
        assert len(self.clean) == len(self.corrupted) == self.positions[-1] + 1


@dataclass(frozen=True, eq=False)
class Batch:
    """B prompts padded on the right to T tokens, read at A predicting positions.

    `rows`, `cols`, `answers` and `weights` list the predicting positions prompt by prompt, in
    order; `first[b]` is where prompt b's begin. A weight is 1 / (B * positions of its prompt), so
    that a weighted sum over A is the mean over prompts of the mean over positions. In a piece of a
    larger set (`tasks.shares`) B is that set's; a prompt of weight 0 only stands in for one.
    """

    input_ids: Int64[Tensor, "B T"]
    counterfactual_ids: Int64[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]
    rows: Int64[Tensor, " A"]
    cols: Int64[Tensor, " A"]
    weights: Float32[Tensor, " A"]
    answers: Int64[Tensor, " A"]
    first: Int64[Tensor, " B"]
    distractors: Int64[Tensor, " B"]  # -1: the prompt has none
    token_set: Int64[Tensor, " K"] | None  # predictions are among these tokens only
    good: tuple[tuple[int, ...], ...]  # one set a prompt, possibly empty
    bad: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def prompt_weights(self) -> Float32[Tensor, " B"]:
        """Each prompt's share of its set: 1 / B, or 0 if it stands in."""
        zeros = self.weights.new_zeros(len(self))
        return zeros.index_add(0, self.rows, self.weights)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        tensors = {name: value for name, value in values if isinstance(value, Tensor)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def collate(
    examples: Sequence[Example], pad_id: int, token_set: tuple[int, ...] | None = None
) -> Batch:
    """Pad on the right and list the predicting positions."""
    n_prompts, longest = len(examples), max(len(example.clean) for example in examples)
    counts = [len(example.positions) for example in examples]

    def padded(sequences: list[tuple[int, ...]]) -> Tensor:
        return torch.tensor([ids + (pad_id,) * (longest - len(ids)) for ids in sequences])

    def flat(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    lengths = flat([len(example.clean) for example in examples])
    return Batch(
        input_ids=padded([example.clean for example in examples]),
        counterfactual_ids=padded([example.corrupted for example in examples]),
        attention_mask=torch.arange(longest) < lengths[:, None],
        rows=torch.repeat_interleave(torch.arange(n_prompts), flat(counts)),
        cols=flat([position for example in examples for position in example.positions]),
        weights=torch.tensor([1 / (n * n_prompts) for n in counts for _ in range(n)]),
        answers=flat([answer for example in examples for answer in example.answers]),
        first=flat([sum(counts[:i]) for i in range(n_prompts)]),
        distractors=flat([-1 if e.distractor is None else e.distractor for e in examples]),
        token_set=None if token_set is None else flat(list(token_set)),
        good=tuple(example.good for example in examples),
        bad=tuple(example.bad for example in examples),
    )
