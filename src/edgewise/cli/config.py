"""A comparison's config file, in TOML: one model and task, and methods at several densities.

    model = "smollm2-135m"
    task = "ioi"
    train = 500
    densities = [0.01, 0.02]

    [[methods]]
    name = "edge-pruning"
    steps = 160

At the top are the flags of `edgewise discover` that all runs share; a method's table has its
fields. A method is run once at each density, or just once if its table says how large the circuit
is (density or edges) or nothing can (ACDC's threshold decides). `paper = true` starts from the
published hyperparameters for the task, which end at a target_sparsity of their own: once, too. A
run is called by its method's `label` (the name unless given) and the density.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgewise.cli.discover import Command, Discover
from edgewise.discovery import METHODS, Method
from edgewise.discovery.found import UNIONS, fits
from edgewise.errors import ConfigError

OF_ONE_RUN = ("out", "method", "paper", "shards", "overwrite", "json", "quiet")  # not shared
DENSITIES = (0.02,)


def read(path: Path, out: Path) -> dict[str, Discover]:
    """The runs that a file asks for, by name, each in its folder of `out`.

    Raises ConfigError, DataError or RunError for whatever can be refused before a model is loaded.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML file: {error}") from error
    try:
        runs = _runs(table, out)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for run in runs.values():
        run.check()
    return runs


def _runs(table: Mapping[str, Any], out: Path) -> dict[str, Discover]:
    types = {name: kind for name, kind in _types(Command).items() if name not in OF_ONE_RUN}
    types |= {"densities": Sequence[float], "methods": Sequence[Mapping]}
    _refuse(table, types, "")
    required = [one.name for one in fields(Command) if one.default is MISSING]
    for name in [name for name in types if name in (*required, "methods")]:
        if not table.get(name):
            raise ConfigError(f"{name} is missing")
    densities = table.get("densities", DENSITIES)
    if not densities:
        raise ConfigError("densities: the list is empty; give at least one, such as 0.02")
    if odd := [density for density in densities if not 0 < density <= 1]:
        raise ConfigError(f"densities: {odd[0]} must be above 0 and at most 1, such as 0.02")
    shared = {name: table[name] for name in table if name not in ("densities", "methods")}
    runs: dict[str, Discover] = {}
    for number, given in enumerate(table["methods"], start=1):
        for label, method in _methods(given, densities, table["task"], f"[[methods]] {number}"):
            if label in runs:
                raise ConfigError(f"two runs would be called {label!r}: give one method a label")
            command = Command(**shared, out=out / label, method=method.name)
            runs[label] = Discover(command, method)
    return runs


def _methods(
    given: Mapping[str, Any], densities: Sequence[float], task: str, where: str
) -> Iterator[tuple[str, Method]]:
    """A method's runs: what each is called, and its hyperparameters."""
    name = given.get("name")
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(f"{where}: name is {name!r}; there are {', '.join(METHODS)}")
    kind, label = METHODS[name], given.get("label", name)
    types, preset = _types(kind), given.get("paper", False)
    own = {"name": str, "label": str} | ({"paper": bool} if hasattr(kind, "paper") else {})
    _refuse(given, {**own, **types}, f"{where} ({name}): ")
    if label in (".", "..", "") or Path(label).name != label:
        raise ConfigError(f"{where} ({name}): label is {label!r}; it must be a folder's name")
    values = {key: given[key] for key in given if key not in own}
    try:
        for suffix, sized in _sizes(values, types, densities, preset):
            method = kind.paper(task, **sized) if preset else kind(**sized)
            method.check()
            yield f"{label}{suffix}", method
    except ConfigError as error:
        raise ConfigError(f"{where} ({name}): {error}") from error


def _sizes(
    values: Mapping[str, Any], types: Mapping[str, Any], densities: Sequence[float], preset: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a label gains, and a method's values: once, or with each density."""
    if "edges" in values and not preset:
        yield "", {"density": None, **values}
    elif preset or "density" in values or "density" not in types:
        yield "", values
    else:
        for density in densities:
            yield f"-{density:g}", {**values, "density": density}


def _types(kind: type) -> dict[str, Any]:
    """A dataclass's fields and what they take."""
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _refuse(table: Mapping[str, Any], types: Mapping[str, Any], where: str) -> None:
    """ConfigError for a key that isn't among `types`, or a value that isn't of its type."""
    if odd := [key for key in table if key not in types]:
        raise ConfigError(f"{where}no key {', '.join(odd)}; there can be {', '.join(types)}")
    for key, value in table.items():
        if not fits(value, types[key]):
            raise ConfigError(f"{where}{key} is {value!r}; it must be {_described(types[key])}")


def _described(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(repr, inside))
    if origin in UNIONS:
        return " or ".join(_described(one) for one in inside if one is not type(None))
    if origin is Sequence:
        return f"a list, each {_described(inside[0])}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return words.get(kind, "a table")
