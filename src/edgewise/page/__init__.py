"""A circuit as a page: one HTML file that opens from disk and asks nothing of the network.

`payload` says everything about the circuit that a browser needs, as JSON; page.html, page.css and
the scripts beside this file draw it. The scripts know the graph's arithmetic (wiring.js does what
graph.py and wiring.py do), so that moving the density slider needs no Python. They share one scope
and are put into the page in the order of `_SCRIPTS`: whoever stands below uses whoever is above.

A notebook shows a circuit by the same page, in a frame: `edgewise/__init__.py` sees to that, since
circuit.py stands below this package.
"""

import html
import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgewise.attention import Attention
from edgewise.circuit import Circuit
from edgewise.files import atomic_write, file_in
from edgewise.page.payload import MAX_RANKED, payload
from edgewise.report import Report
from edgewise.scores import EdgeScores, Order

__all__ = ["view"]

_SCRIPTS = ("wiring", "paths", "layout", "draw", "charts", "state", "nodes", "edges", "pointing")
_SCRIPTS += ("report", "difference", "training", "samples", "attention", "component", "controls")
_SCRIPTS += ("main",)


def view(
    circuit: Circuit,
    path: str | os.PathLike[str],
    *,
    report: Report | None = None,
    scores: EdgeScores | None = None,
    run: str | os.PathLike[str] | None = None,
    other: Circuit | None = None,
    attention: Sequence[Attention] = (),
    by: Order | None = None,
) -> Path:
    """Writes the circuit as the HTML file `path`, or as circuit.html in the folder `path`.

    report      what `evaluate` returned: metrics, curve and samples
    scores      rank the edges for the density slider
    run         the run's folder: its metrics.jsonl gives the training curves, and what isn't given
                here (report, scores, attention) is read from it if it is there
    other       a second circuit of the same graph, for the diff
    attention   where heads look in prompts (`edgewise.patterns`)
    by          the slider's order; unless given, the circuit's or the scores' own

    Raises GraphError when scores or `other` are of another graph, ConfigError for what is no
    circuit or one of more edges than a page can draw, RunError for a run file that can't be read.
    """
    data = payload(circuit, report, scores, run, other, attention, by)
    return atomic_write(file_in(path, "circuit.html"), _html(data))


def _html(data: Mapping[str, Any]) -> str:
    """The template with the data, the style and the scripts put in."""
    folder = files("edgewise.page")
    script = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    parts = {
        "title": html.escape(data["title"]),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "data": text.replace("<", "\\u003c"),  # a token "</script>" must not end the data
        "script": script,
    }
    before, *rest = (folder / "page.html").read_text(encoding="utf-8").split("{{")
    pieces = [before]
    for piece in rest:
        name, _, text = piece.partition("}}")
        pieces += [parts[name], text]
    return "".join(pieces)


def frame(circuit: Circuit) -> str | None:
    """The page in a frame, for a notebook; None for more edges than are worth drawing there."""
    if len(circuit) > MAX_RANKED:
        return None
    page = _html(payload(circuit, None, None, None, None, (), None))
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" '
        f'title="{html.escape(repr(circuit))}" '
        f'style="width:100%;height:720px;border:0;border-radius:6px"></iframe>'
    )
