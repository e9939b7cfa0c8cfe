"""The code in the README and docs runs.

In each file, every ```python block is executed in order, all in one namespace, in an empty folder.
A ```bash block is executed, in the same folder, if the line before it is `<!-- run -->`.
`<!-- no-run: reason -->` before a python block leaves it out; the reason is for the reader.
"""

import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"^(?:<!--[ ]*(?P<mark>[\w-]+)(?::(?P<reason>.*?))?[ ]*-->[ ]*\n\s*)?"
    r"^```(?P<language>python|bash)[ ]*\n(?P<code>.*?)^```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """line: of its first line of code, counted from 1."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text that are to be run."""
    found = []
    for match in BLOCK.finditer(text):
        mark, language = match["mark"], match["language"]
        line = text.count("\n", 0, match.start("code")) + 1
        if mark == "no-run":
            assert (match["reason"] or "").strip(), f"line {line}: no-run needs a reason"
        elif language == "python" or mark == "run":
            found.append(Block(language, match["code"], line))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_blocks_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join((scripts, os.environ["PATH"])))
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(file.read_text(encoding="utf-8")):
        if block.language == "python":
            # Blank lines first, so that a traceback shows the line of the Markdown file.
            exec(compile("\n" * (block.line - 1) + block.code, str(file), "exec"), namespace)
        else:
            command = ["bash", "-euo", "pipefail", "-c", block.code]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{file}:{block.line}\n{done.stdout}\n{done.stderr}"


def test_blocks_are_found() -> None:
    text = """
Text with `python` in it.

```python
a = 1
```

<!-- no-run: needs a GPU -->
```python
b = 1
```

```bash
left out
```

<!-- run -->

```bash
true
```
```json
{}
```
<!-- a remark -->
```python
c = a
```
"""
    assert [(b.language, b.code.strip(), b.line) for b in blocks(text)] == [
        ("python", "a = 1", 5),
        ("bash", "true", 20),
        ("python", "c = a", 27),
    ]


def test_leaving_out_needs_a_reason() -> None:
    with pytest.raises(AssertionError, match="line 3: no-run needs a reason"):
        blocks("<!-- no-run -->\n```python\nx\n```\n")


def test_the_tables_of_results_are_of_its_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    ledger = importlib.import_module("ledger")
    assert ledger.tables() in (ROOT / "docs" / "results.md").read_text()
