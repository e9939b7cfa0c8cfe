"""Plain text tables for a terminal."""

from collections.abc import Sequence
from itertools import zip_longest


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
