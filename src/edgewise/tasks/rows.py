"""Rows with <predict>...</predict> spans become examples one at a time, whatever holds them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgewise.errors import DataError
from edgewise.tasks.align import align
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example
from edgewise.tasks.packed import Packed

SPLITS = ("train", "validation", "test")
FIELDS = ("clean", "corrupted", "distractor", "answers", "distractors", "split")
ALIKE = 0.8  # difflib's ratio from which a field's name is another one misspelt
SPAN = re.compile(r"<predict>(.*?)</predict>", re.DOTALL)
SHAPE = (
    '{"clean": "The capital of France is<predict> Paris</predict>", '
    '"corrupted": "The capital of Spain is<predict> Madrid</predict>"}'
)

Row = tuple[str, Mapping[str, Any]]  # what to call it in a message, and its fields


def of_file(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file, "f.jsonl, line 3"; blank lines are skipped."""
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, start=1):
                line = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if line:
                    yield f"{path}, line {number}", _parsed(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: {line[:80]!r} is not JSON ({error.msg}). "
            f"Write one JSON object a line, none spread over several lines: {SHAPE}"
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: this is a JSON {type(row).__name__}. "
            f"Write one JSON object a line, not a list of them: {SHAPE}"
        )
    return row


def of_memory(rows: Iterable[Any], what: str = "row") -> Iterator[Row]:
    """Mappings, or tuples (clean, corrupted), as rows called "row 1", "row 2"."""
    for number, row in enumerate(rows, start=1):
        if isinstance(row, tuple) and len(row) == 2:
            row = dict(zip(("clean", "corrupted"), row, strict=True))
        if not isinstance(row, Mapping):
            raise DataError(
                f"{what} {number}: {repr(row)[:80]} is a {type(row).__name__}; a row is a mapping "
                f"or a pair (clean, corrupted), such as {SHAPE}"
            )
        yield f"{what} {number}", row


def of_dataset(dataset: Any) -> Iterator[Row]:
    """Rows of a table, or of a mapping from splits to tables: "row 1", or "train, row 1"."""
    if not isinstance(dataset, Mapping):
        yield from of_memory(dataset)
        return
    if odd := [str(split) for split in dataset if split not in SPLITS]:
        raise DataError(
            f"the dataset has a split {', '.join(odd)}; there can be {', '.join(SPLITS)}: rename "
            'or leave out the others, such as {"validation": dataset["dev"]}'
        )
    for split, table in dataset.items():
        for where, row in of_memory(table, f"{split}, row"):
            yield where, {**row, "split": split}


def encode(encoder: Encoder, rows: Iterable[Row], source: str) -> dict[str, Packed]:
    """Examples by split; `source` is what to call all the rows in a message.

    Raises DataError, beginning with its name, for the first row that is no use; and without rows.
    Fields that are not in FIELDS are ignored with a warning, but refused if they resemble one.
    """
    splits: dict[str | None, Packed] = {}
    ignored: dict[str, None] = {}  # as first met
    for where, row in rows:
        try:
            split = _split(row, splits)
            splits.setdefault(split, Packed()).append(_example(encoder, row))
            ignored |= _others(row, ignored)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    if not splits:
        raise DataError(f"{source}: no rows; write at least one: {SHAPE}")
    if ignored:
        warnings.warn(
            f"{source}: ignored {', '.join(ignored)}; the fields of a row are {', '.join(FIELDS)}",
            stacklevel=3,
        )
    if None in splits:
        warnings.warn(
            f'no row has a "split": all {len(splits[None])} are used for training, validation and '
            "test, so scores say nothing about unseen prompts",
            stacklevel=3,
        )
        return dict.fromkeys(SPLITS, splits[None])
    return {split: splits[split] for split in SPLITS if split in splits}


def _others(row: Mapping[str, Any], known: Mapping[str, None]) -> dict[str, None]:
    """Fields that mean nothing here and aren't `known`; DataError for a probable slip."""
    others = {str(field): None for field in row if field not in FIELDS and field not in known}
    for field in others:
        if close := get_close_matches(field.lower(), FIELDS, n=1, cutoff=ALIKE):
            raise DataError(
                f'"{field}" is no field of a row; did you mean "{close[0]}"? The fields are '
                f"{', '.join(FIELDS)}. Rename it, or leave it out if it means something else"
            )
    return others


def _split(row: Mapping[str, Any], before: Mapping[str | None, Packed]) -> str | None:
    """The row's split, None without one; what came `before` says whether rows have any."""
    split = row.get("split")
    if split is None and None not in before and before:
        raise DataError(f'"split" is missing; the rows before have one of {", ".join(SPLITS)}')
    if split is not None and None in before:
        raise DataError(f'"split" is {split!r}, and the rows before have none: all or none need it')
    if split is not None and split not in SPLITS:
        raise DataError(f'"split" is {split!r}; it must be one of {", ".join(SPLITS)}')
    return split


def _example(encoder: Encoder, row: Mapping[str, Any]) -> Example:
    clean, corrupted = (_marked(row, key) for key in ("clean", "corrupted"))
    prompt, distractor = clean.prompt, row.get("distractor")
    wrong = None if distractor is None else _first(encoder, prompt, '"distractor" is', distractor)
    example = align(encoder, clean, corrupted, distractor=wrong)
    others, bad = (
        _firsts(encoder, prompt, key, row.get(key)) for key in ("answers", "distractors")
    )
    if not others and not bad:
        return example
    good = tuple(dict.fromkeys((example.answers[0], *others)))
    if both := set(good) & {*bad, wrong}:
        raise DataError(
            "a right and a wrong answer begin with the same token "
            f"({encoder.show(tuple(both)[:1])!r}), so the two can't be told apart; choose others"
        )
    return replace(example, good=good, bad=bad)


def _firsts(encoder: Encoder, prompt: str, key: str, texts: Any) -> tuple[int, ...]:
    """The first tokens of a list of texts, each once."""
    if texts is None:
        return ()
    if not isinstance(texts, list | tuple):
        raise DataError(f'"{key}" is {texts!r}; it must be a list, such as [" Lyon", " Nice"]')
    return tuple(dict.fromkeys(_first(encoder, prompt, f'"{key}" holds', text) for text in texts))


def _first(encoder: Encoder, prompt: str, place: str, text: Any) -> int:
    """The first token of a text where it follows the prompt; `place` is its name in a message."""
    if not isinstance(text, str) or not text.strip():
        raise DataError(f'{place} {text!r}; it must be text, such as " Lyon"')
    ids, first, _ = encoder.locate(Marked.of(prompt, text))
    if ids[first] == encoder.tokenizer.unk_token_id:
        raise DataError(f"{place} {text!r}, which the tokenizer doesn't know; choose another")
    return ids[first]


def _marked(row: Mapping[str, Any], key: str) -> Marked:
    text = row.get(key)
    if not isinstance(text, str):
        got = f"is {text!r}" if key in row else f"is missing (there are: {', '.join(row)})"
        raise DataError(f'"{key}" {got}; a row looks like {SHAPE}')
    spans = list(SPAN.finditer(text))
    if len(spans) != 1 or not spans[0][1].strip():
        raise DataError(
            f'"{key}" must hold one <predict>answer</predict> with some text in it, '
            f"it has {len(spans)}: {text!r}"
        )
    start, stop = spans[0].span()
    answer = spans[0][1]
    return Marked(text[:start] + answer + text[stop:], start, start + len(answer))
