"""Dataclasses as flags, by tyro: a field is a flag, its default the flag's default."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, arg

from edgewise.errors import ConfigError

T = TypeVar("T")

OWN = "test"  # the split whose report belongs to the run folder

# Left out unless given: without "{None}|" before the value and "(default: None)" after the help.
MaybePath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]
MaybeInt = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
MaybeFloat = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")]
MaybePlace = Annotated[Literal["disk"] | None, arg(metavar="disk", help_behavior_hint="")]
Ablation = Literal["interchange", "mean", "zero"]
MaybeAblation = Annotated[
    Ablation | None, arg(metavar="{interchange,mean,zero}", help_behavior_hint="")
]
MaybeText = Annotated[str | None, arg(metavar="STR", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]

# "density, edges   how many to keep", and lines indented below go on with it
_COLUMNS = re.compile(r"^(?P<names>\w+(?:, \w+)*) {2,}(?P<text>\S.*(?:\n {3,}\S.*)*)", re.MULTILINE)


def parse(kind: type[T], argv: Sequence[str], command: str) -> T:
    """An instance of `kind` from `argv`; SystemExit for --help (0) and what can't be parsed (2)."""
    return tyro.cli(
        kind,
        args=list(argv),
        prog=f"edgewise {command}",
        config=(FlagCreatePairsOff, OmitArgPrefixes),
    )


def plain(kind: type, default: Any = None) -> type:
    """A dataclass with the fields of `kind`, each with its help, that takes any values.

    Field help comes from the columns of the docstring. `kind` may refuse values with a message of
    its own, which the parser would wrap in its. `default` is an instance whose values are defaults.
    """
    help_of, types = dict(_documented(kind)), get_type_hints(kind)

    def described(one: Field) -> tuple[str, Any, Any]:
        hint = types[one.name]
        shown = arg(help=help_of.get(one.name, ""), metavar=_metavar(hint))
        value = _default(one) if default is None else getattr(default, one.name)
        given = field() if value is MISSING else field(default=value)
        return one.name, Annotated[hint, shown], given

    # Fields without a default may come after others: tyro only names them.
    made = make_dataclass(
        kind.__name__, [described(one) for one in fields(kind) if one.init], kw_only=True
    )
    made.__doc__ = (kind.__doc__ or "").partition("\n")[0]
    return made


def check_least(command: Any, **least: int) -> None:
    """ConfigError for a field, if it is given, that is below the least that it can be."""
    for name, bound in least.items():
        value = getattr(command, name)
        if value is not None and value < bound:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: it must be at least {bound}")


def as_typed(message: str, kind: type) -> str:
    """A message about fields of `kind`, "steps=-5", as their flags are typed: "--steps -5"."""
    names = "|".join(one.name for one in fields(kind))

    def flag(match: re.Match[str]) -> str:
        typed = f"--{match['name'].replace('_', '-')}"
        return typed if match["value"] == "True" else f"{typed} {match['value'].strip(chr(39))}"

    return re.sub(rf"\b(?P<name>{names})=(?P<value>'[^']*'|[^\s,:;]+)", flag, message)


def _documented(kind: type) -> Iterator[tuple[str, str]]:
    _, _, rest = (kind.__doc__ or "").partition("\n")
    for match in _COLUMNS.finditer(textwrap.dedent(rest)):
        for name in match["names"].split(", "):
            yield name, " ".join(match["text"].split())


def _default(one: Field) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _metavar(hint: Any) -> str | None:
    """ "FLOAT" for `float | int | None`, which would be shown as {None}|FLOAT|INT."""
    names = [kind.__name__.upper() for kind in get_args(hint) if kind in (float, int, str)]
    return names[0] if type(None) in get_args(hint) and names else None
