"""Tables of docs/scaling.md, each between two marks."""

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


def fill(name: str, rows: Sequence[str]) -> None:
    """Put `rows` between the marks `<!-- name: begin -->` and `<!-- name: end -->`."""
    text = PAGE.read_text()
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    PAGE.write_text("\n".join([before + begin, "", *rows, "", end + after]))
