"""A task: prompts in splits, each paired with its counterfactual, and nothing about any model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from edgewise.errors import ConfigError, DataError
from edgewise.files import sha256_file
from edgewise.tasks import rows
from edgewise.tasks.encoder import Encoder
from edgewise.tasks.example import Batch, Example, collate
from edgewise.tasks.sampling import Lazy

__all__ = ["Batch", "Example", "Task"]

SAMPLED = 512  # examples of a generated split that its fingerprint reads


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """Named splits of examples; `description` is what rebuilds them.

    A split is any sequence of examples: a tuple, or one that makes example i on demand.
    `token_set` restricts and re-normalises predictions to these tokens (Greater-Than).
    """

    name: str
    splits: Mapping[str, Sequence[Example]]
    pad_id: int
    token_set: tuple[int, ...] | None = None
    description: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Task {self.name}: {self.sizes or 'no'} prompts>"

    @property
    def sizes(self) -> str:
        """ "200 train, 200 validation, 500 test"."""
        return ", ".join(f"{len(examples):,} {split}" for split, examples in self.splits.items())

    def examples(self, split: str) -> Sequence[Example]:
        """A split's examples; DataError, naming the splits there are, if it is empty or unknown."""
        if not self.splits.get(split):
            there = ", ".join(f"{name} ({len(s):,})" for name, s in self.splits.items() if s)
            what = "is empty" if split in self.splits else "does not exist"
            how = ""
            if split in rows.SPLITS and split not in self.splits:
                how = f'. To have it, give rows "split": "{split}", as on a line of a .jsonl file'
            raise DataError(
                f"{self.name}: split {split!r} {what}; there are: {there or 'none'}{how}"
            )
        return self.splits[split]

    def batch(self, split: str, indices: Iterable[int]) -> Batch:
        """The split's examples at `indices`, as tensors."""
        examples = self.examples(split)
        chosen = [examples[i] for i in indices]
        if not chosen:
            raise DataError(f"{self.name}: a batch of {split!r} needs at least one index")
        return collate(chosen, self.pad_id, self.token_set)

    def batches(self, split: str, size: int) -> Iterator[Batch]:
        """The whole split in order, `size` prompts at a time; the last batch may be smaller."""
        if size < 1:
            raise ConfigError(f"batch size {size}: it must be 1 or more")
        n = len(self.examples(split))
        return (self.batch(split, range(i, min(i + size, n))) for i in range(0, n, size))

    def fingerprint(self) -> str:
        """SHA-256 of what a model would see, in hexadecimal.

        Of a split that is made on demand, its length and up to SAMPLED evenly spaced examples are
        read: the same rule makes them all, so a split of any size takes about a second.
        """
        digest = hashlib.sha256(repr(self.token_set).encode())
        for split in sorted(self.splits):
            examples = self.splits[split]
            digest.update(f"{split} {len(examples)}".encode())
            stride = ceil(len(examples) / SAMPLED) if isinstance(examples, Lazy) else 1
            for i in range(0, len(examples), max(1, stride)):
                digest.update(repr(examples[i]).encode())
        return digest.hexdigest()

    @classmethod
    def from_jsonl(
        cls, path: str | Path, tokenizer: Any, name: str | None = None, bos: bool | None = None
    ) -> Task:
        """Read one JSON object a line: `{"clean": "... <predict> Paris</predict>", ...}`.

        Fields: `clean` and `corrupted`, each with the text to predict in <predict>...</predict>;
        optionally `split` ("train", "validation" or "test", for every row or for none),
        `distractor` (the wrong answer it competes with), `answers` and `distractors` (lists of
        right answers beside the marked one and of wrong ones, each known by its first token: as
        Greater-Than's years). Other fields are ignored with a warning, but refused if their names
        are almost one of these: `distractr` is a mistake.
        Without `split` every row is in all three splits, with a warning, as in the paper.
        Rows are read one at a time and held as integers.
        Raises DataError with the line number.
        """
        path = Path(path)
        encoder = Encoder.of(tokenizer, bos)
        splits = rows.encode(encoder, rows.of_file(path), str(path))
        origin = {"jsonl": str(path), "sha256": sha256_file(path)}
        return cls.encoded(name or path.stem, splits, encoder, origin)

    @classmethod
    def from_pairs(
        cls,
        pairs: Iterable[Mapping[str, Any] | tuple[str, str]],
        tokenizer: Any,
        name: str = "pairs",
        bos: bool | None = None,
    ) -> Task:
        """As `from_jsonl`, from rows in memory: mappings, or tuples (clean, corrupted)."""
        encoder = Encoder.of(tokenizer, bos)
        splits = rows.encode(encoder, rows.of_memory(pairs), name)
        return cls.encoded(name, splits, encoder, {"rows": _sizes(splits)})

    @classmethod
    def from_dataset(
        cls, dataset: Any, tokenizer: Any, name: str = "dataset", bos: bool | None = None
    ) -> Task:
        """As `from_jsonl`, from a Hugging Face dataset whose columns are a JSONL row's fields.

        dataset    a `Dataset`, streamed or not, or a `DatasetDict` of "train", "validation" and
                   "test"; any iterable of mappings, or mapping of such splits, will do
        """
        encoder = Encoder.of(tokenizer, bos)
        splits = rows.encode(encoder, rows.of_dataset(dataset), name)
        return cls.encoded(name, splits, encoder, {"rows": _sizes(splits)})

    @classmethod
    def encoded(
        cls,
        name: str,
        splits: Mapping[str, Sequence[Example]],
        encoder: Encoder,
        asked: Mapping[str, Any],
        token_set: tuple[int, ...] | None = None,
    ) -> Task:
        """A task described by its name, what was `asked` for and the encoder used."""
        description = {
            "task": name,
            **asked,
            "bos": encoder.bos,
            "tokenizer": encoder.fingerprint(),
        }
        ordered = {split: splits[split] for split in rows.SPLITS if split in splits}
        return cls(name, ordered, encoder.pad_id, token_set, description)


def check_task(task: Any) -> None:
    """ConfigError for anything but a Task, such as a task's name."""
    if isinstance(task, Task):
        return
    if not isinstance(task, str | Path):
        given = f"a {type(task).__name__}"
        how = "edgewise.tasks.make('ioi', model.tokenizer), or edgewise.Task.from_pairs(rows, ...)"
    elif str(task).endswith(".jsonl"):
        given, how = repr(str(task)), f"edgewise.Task.from_jsonl({str(task)!r}, model.tokenizer)"
    else:
        given, how = repr(str(task)), f"edgewise.tasks.make({str(task)!r}, model.tokenizer)"
    raise ConfigError(f"task is {given}, not a Task: type {how}")


def _sizes(splits: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    return {split: len(examples) for split, examples in splits.items()}
