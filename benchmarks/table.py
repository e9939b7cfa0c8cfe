"""Measurements in docs/scaling.md, each between two marks."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from edgewise.ops.product import processor
from edgewise.table import filled

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


def fill(name: str, text: str, threads: int | None = None) -> None:
    """Put a text between the marks of `name`, and what its figures were measured on; without
    `threads`, figures that are the same on any processor."""
    said = f"torch {version('torch')}, commit {commit()}"
    if threads is not None:
        used = "1 thread" if threads == 1 else f"{threads} threads"
        said = f"{processor('model name') or platform.machine()}, {used}, {said}"
    PAGE.write_text(filled(PAGE.read_text(), name, f"{text}\n\n{said}"))


def commit() -> str:
    """The commit that is checked out."""
    asked = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
