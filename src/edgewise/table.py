"""Tables: plain text for a terminal, Markdown for a page."""

from collections.abc import Sequence
from itertools import zip_longest

from edgewise.errors import ConfigError


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width two spaces apart: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
    text = []
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def percent(share: float | int) -> str:
    """A share for people: "2%", "0.0269%"."""
    return f"{100 * share:.3g}%"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first line is its head."""
    head, *others = ("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join([head, "| " + " | ".join(["---"] * len(lines[0])) + " |", *others])


def filled(page: str, name: str, text: str) -> str:
    """A page with `text` between its marks `<!-- name: begin -->` and `<!-- name: end -->`.

    ConfigError for a page without them.
    """
    begin, end = (f"<!-- {name}: {which} -->" for which in ("begin", "end"))
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ConfigError(f"the page has no {begin} followed by {end}: put them where it belongs")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
