"""How many prompts the model itself answers as the task expects, asked before a search.

A circuit does what its model does. Where the model doesn't do the task, the circuit found is of
something else, however faithful it is.
"""

from dataclasses import dataclass
from math import ceil

import torch

from edgewise.errors import ConfigError
from edgewise.metrics import accuracy
from edgewise.models.model import Model
from edgewise.stream import full_read
from edgewise.tasks.task import Task

FEW = 0.6  # of the prompts: where there are two answers, chance gives half


@dataclass(frozen=True)
class Solved:
    """`right` of the `asked` prompts of a split that has `total`; as text, a sentence."""

    split: str
    right: int
    asked: int
    total: int

    @property
    def share(self) -> float:
        """right / asked."""
        return self.right / self.asked

    @property
    def few(self) -> bool:
        """Whether the share is below FEW."""
        return self.share < FEW

    def __str__(self) -> str:
        which = self.split if self.asked == self.total else f"sampled {self.split}"
        return (
            f"the model answers {self.right:,} of {self.asked:,} {which} prompts as the task "
            f"expects ({self.share:.0%})"
        )


@torch.no_grad()
def solved(
    model: Model, task: Task, split: str = "test", prompts: int = 64, batch_size: int = 16
) -> Solved:
    """Ask the full model up to `prompts` of a split, evenly spaced; right is as in `accuracy`.

    Raises ConfigError for fewer than one prompt, DataError for a split that is empty or unknown.
    """
    for name, value in (("prompts", prompts), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}={value}: it must be at least 1")
    total = len(task.examples(split))
    chosen = range(0, total, ceil(total / prompts))
    right = 0
    for start in range(0, len(chosen), batch_size):
        batch = task.batch(split, chosen[start : start + batch_size]).to(model.device)
        outer = model.outer(batch.input_ids, batch.attention_mask)
        index = outer.tokens.index(batch.rows, batch.cols)
        right += int(accuracy(model.head(full_read(model, outer, index)), batch).sum())
    return Solved(split, right, len(chosen), total)
