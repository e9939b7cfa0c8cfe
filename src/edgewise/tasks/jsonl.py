"""Rows with <predict>...</predict> spans, from a JSONL file or from memory, become examples."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.errors import DataError
from edgewise.tasks.align import align
from edgewise.tasks.encoder import Encoder, Marked
from edgewise.tasks.example import Example

SPLITS = ("train", "validation", "test")
SPAN = re.compile(r"<predict>(.*?)</predict>", re.DOTALL)
SHAPE = (
    '{"clean": "The capital of France is<predict> Paris</predict>", '
    '"corrupted": "The capital of Spain is<predict> Madrid</predict>"}'
)


def read(path: Path) -> tuple[bytes, dict[int, Mapping[str, Any]]]:
    """The file's bytes, and its rows by line number; blank lines are skipped."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    rows = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: {line.strip()[:80]!r} is not JSON ({error.msg}). "
                f"Write one JSON object a line, none spread over several lines: {SHAPE}"
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number}: this is a JSON {type(row).__name__}. "
                f"Write one JSON object a line, not a list of them: {SHAPE}"
            )
        rows[number] = row
    return content, rows


def encode(
    encoder: Encoder, rows: Mapping[int, Mapping[str, Any]], where: str
) -> dict[str, tuple[Example, ...]]:
    """Examples by split. `where` introduces the row's number in messages: "row", "f.jsonl, line".

    Raises DataError for the first row that can't be used.
    """
    if not rows:
        raise DataError(f"no rows; write at least one: {SHAPE}")
    marked = [number for number, row in rows.items() if "split" in row]
    examples: dict[str, list[Example]] = {}
    for number, row in rows.items():
        try:
            split = _split(row, marked)
            examples.setdefault(split, []).append(_example(encoder, row))
        except DataError as error:
            raise DataError(f"{where} {number}: {error}") from error
    if not marked:
        warnings.warn(
            f'no row has a "split": all {len(rows)} are used for training, validation and test, '
            "so scores say nothing about unseen prompts",
            stacklevel=3,
        )
        return dict.fromkeys(SPLITS, tuple(examples[""]))
    return {split: tuple(examples[split]) for split in SPLITS if split in examples}


def _split(row: Mapping[str, Any], marked: list[int]) -> str:
    if not marked:
        return ""
    if row.get("split") not in SPLITS:
        raise DataError(
            f'"split" is {row.get("split")!r}; as row {marked[0]} has one, each row needs one of '
            f"{', '.join(SPLITS)}"
        )
    return row["split"]


def _example(encoder: Encoder, row: Mapping[str, Any]) -> Example:
    clean, corrupted = (_marked(row, key) for key in ("clean", "corrupted"))
    distractor = row.get("distractor")
    if distractor is None:
        return align(encoder, clean, corrupted)
    if not isinstance(distractor, str) or not distractor.strip():
        raise DataError(f'"distractor" is {distractor!r}; it must be text, such as " Lyon"')
    ids, first, _ = encoder.locate(Marked.of(clean.prompt, distractor))
    return align(encoder, clean, corrupted, distractor=ids[first])


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
