"""Measurements in docs/scaling.md, each between two marks."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from edgewise.table import filled

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
PROCESSORS = Path("/proc/cpuinfo")


def fill(name: str, text: str, threads: int | None = None) -> None:
    """Put a text between the marks of `name`, and what its figures were measured on; without
    `threads`, figures that are the same on any processor."""
    said = f"torch {version('torch')}, commit {commit()}"
    if threads is not None:
        used = "1 thread" if threads == 1 else f"{threads} threads"
        said = f"{processor()}, {used}, {said}"
    PAGE.write_text(filled(PAGE.read_text(), name, f"{text}\n\n{said}"))


def commit() -> str:
    """The commit that is checked out."""
    asked = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def processor() -> str:
    """The processor's name."""
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
