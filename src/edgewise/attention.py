"""Where heads look in a prompt: patterns of the full model and of a circuit. No model, no torch.

They are saved as `attention.json`, small enough for a page: the weights of a query on itself and
what comes before it, a byte each.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from edgewise.errors import ConfigError, RunError
from edgewise.files import EVALUATE_AGAIN, atomic_write, file_in

FILE = "attention.json"
_BYTES = 255


@dataclass(frozen=True, eq=False)
class Attention:
    """The patterns of K heads in a prompt of T tokens: rows are queries, columns keys.

    tokens    what they say
    heads     names, such as "a5.h1"
    full, circuit    weights in the full model and in the circuit

    Raises ConfigError for parts that don't fit together.
    """

    tokens: tuple[str, ...]
    heads: tuple[str, ...]
    full: Float32[np.ndarray, "K T T"]
    circuit: Float32[np.ndarray, "K T T"]

    def __post_init__(self) -> None:
        shape = (len(self.heads), len(self.tokens), len(self.tokens))
        for side in ("full", "circuit"):
            if (found := getattr(self, side).shape) != shape:
                raise ConfigError(
                    f"attention: {side!r} has shape {found}, but {shape[0]} heads in a prompt of "
                    f"{shape[1]} tokens are {shape}"
                )

    def to_json(self) -> dict[str, Any]:
        """JSON values: the weights of keys up to the query, in 8 bits, as base64."""
        rows, columns = np.tril_indices(len(self.tokens))

        def packed(weights: np.ndarray) -> str:
            units = (weights[:, rows, columns].clip(0, 1) * _BYTES).round().astype(np.uint8)
            return base64.b64encode(units.tobytes()).decode()

        sides = {"full": packed(self.full), "circuit": packed(self.circuit)}
        return {"tokens": list(self.tokens), "heads": list(self.heads), **sides}

    @classmethod
    def from_json(cls, data: Any) -> "Attention":
        """What `to_json` wrote, to 1 / 510; RunError for anything else."""
        try:
            tokens, heads = tuple(map(str, data["tokens"])), tuple(map(str, data["heads"]))
            sides = [_unpacked(data[side], len(heads), len(tokens)) for side in ("full", "circuit")]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"no attention patterns: {error!r}") from error
        return cls(tokens, heads, *sides)


def save(patterns: Sequence[Attention], path: str | os.PathLike[str]) -> Path:
    """Writes the file `path` if it ends in .json, else attention.json in the folder `path`."""
    text = json.dumps([one.to_json() for one in patterns], ensure_ascii=False)
    return atomic_write(file_in(path, FILE), text + "\n")


def load(path: str | os.PathLike[str]) -> tuple[Attention, ...]:
    """Reads what `save` wrote, from the file or its folder; RunError if it holds something else."""
    file = file_in(path, FILE)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise RunError(f"it must hold a list, not {type(content).__name__}")
        return tuple(Attention.from_json(one) for one in content)
    except FileNotFoundError as error:
        raise RunError(f"{file} does not exist: evaluate the run first") from error
    except RunError as error:
        raise RunError(f"{file}: {error}; {EVALUATE_AGAIN}") from error
    except ValueError as error:
        raise RunError(f"{file} is no JSON file: {error}; {EVALUATE_AGAIN}") from error


def _unpacked(text: str, n_heads: int, n_tokens: int) -> Float32[np.ndarray, "K T T"]:
    rows, columns = np.tril_indices(n_tokens)
    units = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    weights = np.zeros((n_heads, n_tokens, n_tokens), np.float32)
    weights[:, rows, columns] = units.reshape(n_heads, len(rows)) / _BYTES
    return weights
