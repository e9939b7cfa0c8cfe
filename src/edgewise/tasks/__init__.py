"""Prompts in pairs, clean and corrupted: the paper's tasks, capitals, and any file of yours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgewise.errors import ConfigError
from edgewise.tasks.boolean import boolean, boolean_instruct
from edgewise.tasks.capitals import capitals, capitals_few_shot, capitals_instruct
from edgewise.tasks.gendered_pronoun import gendered_pronoun
from edgewise.tasks.greater_than import greater_than
from edgewise.tasks.ioi import ioi, ioi_t1
from edgewise.tasks.task import Batch, Example, Task

__all__ = [
    "Batch",
    "Example",
    "Task",
    "boolean",
    "boolean_instruct",
    "capitals",
    "capitals_few_shot",
    "capitals_instruct",
    "gendered_pronoun",
    "greater_than",
    "ioi",
    "ioi_t1",
    "make",
    "names",
]

GENERATORS: Mapping[str, Callable[..., Task]] = {
    "ioi": ioi,
    "ioi-t1": ioi_t1,
    "greater-than": greater_than,
    "gendered-pronoun": gendered_pronoun,
    "boolean": boolean,
    "boolean-instruct": boolean_instruct,
    "capitals": capitals,
    "capitals-few-shot": capitals_few_shot,
    "capitals-instruct": capitals_instruct,
}


def names() -> tuple[str, ...]:
    """The tasks that `make` knows."""
    return tuple(GENERATORS)


def make(
    name: str,
    tokenizer: Any,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    bos: bool | None = None,
) -> Task:
    """A task by name; sizes left out are the task's own. ConfigError for a name not known."""
    if name not in GENERATORS:
        raise ConfigError(
            f"no task {name!r}; there are {', '.join(GENERATORS)}, or the path of a .jsonl file"
        )
    sizes = {"train": train, "validation": validation, "test": test}
    given = {split: size for split, size in sizes.items() if size is not None}
    return GENERATORS[name](tokenizer, seed=seed, bos=bos, **given)
