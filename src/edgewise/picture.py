"""A circuit as a static picture, for papers: the page's layout and colours, drawn by matplotlib.

Layers go upwards, heads stand from left to right, the MLPs in a column at the right, half a step
above the heads that they read. Under grouped-query attention the bar below a group of heads reads
its keys (left) and values (right).
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from edgewise.circuit import Circuit
from edgewise.errors import GraphError
from edgewise.figures import paper
from edgewise.graph import Graph
from edgewise.scores import EdgeScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Curve

_COLOURS = {"q": "#a8350b", "k": "#12ae98", "v": "#3f69e8", "mlp": "#b58d12", "logits": "#9a4a9c"}
_WORDS = {"q": "queries", "k": "keys", "v": "values", "mlp": "MLPs", "logits": "logits"}
_UNUSED, _USED, _INK = "#ecece9", "#5d626d", "#23272f"


def picture(
    circuit: Circuit,
    path: str | os.PathLike[str],
    scores: EdgeScores | None = None,
    width: float | int = 6.75,
) -> Path:
    """Draws the alive edges into the PDF, SVG or PNG file `path`, `width` inches wide.

    With `scores` an edge is the darker the higher it ranks in them. Raises ConfigError without
    matplotlib or for another suffix, GraphError if the scores are of another graph.
    """
    graph = circuit.graph
    if scores is not None and scores.graph != graph:
        raise GraphError(f"the scores are of {scores.graph}, the circuit of {graph}")
    layout = Layout(graph)
    with paper(path, width, width * (layout.height + 3) / (layout.width + 2)) as figure:
        axes = figure.add_subplot()
        _draw_edges(axes, layout, *_ranked(circuit, scores))
        _draw_components(axes, layout, circuit.alive, width)
        axes.set(xlim=(-1.6, layout.width), ylim=(-1.9, layout.height + 0.4))
        axes.set_axis_off()
    return Path(path)


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in head widths: x to the right, y up from layer 0's heads."""

    graph: Graph

    @property
    def step(self) -> float:
        """From a layer to the next: 0.7, or less where the picture would get higher than a page."""
        return min(0.7, 1.25 * (self.mlp_x + 2) / self.graph.n_layers)

    @property
    def half(self) -> float:
        """Half the height of a box."""
        return 0.17 * self.step

    @property
    def height(self) -> float:
        """Of the logits."""
        return (self.graph.n_layers + 1) * self.step

    @property
    def width(self) -> float:
        """Of the MLPs' column, with room for the curves beside it."""
        return self.mlp_x + 1.6

    @cached_property
    def head_x(self) -> Float[np.ndarray, " H"]:
        """The heads' columns, with gaps between groups that share keys and values."""
        heads = np.arange(self.graph.n_heads)
        share = self.graph.n_heads // self.graph.n_kv_heads
        return heads + (0.4 * (heads // share) if share > 1 else 0.0)

    @property
    def mlp_x(self) -> float:
        """The MLPs' column."""
        return float(self.head_x[-1]) + 1.7

    @cached_property
    def writers(self) -> Float[np.ndarray, "W 2"]:
        """Where writers stand."""
        graph, places = self.graph, []
        middle, apart = self.mlp_x / 2, self.mlp_x / 4
        n = graph.n_inputs
        places += [(middle + apart * (2 * i - n + 1), -1.1) for i in range(n)]
        for layer in range(graph.n_layers):
            y = layer * self.step
            places += [(x, y) for x in self.head_x.tolist()]
            places.append((self.mlp_x, y + self._raised))
        return np.array(places)

    @cached_property
    def readers(self) -> Float[np.ndarray, "R 2"]:
        """Where readers read: the lower edge of their component, or of its group's bar."""
        graph, places = self.graph, []
        share = graph.n_heads // graph.n_kv_heads
        for layer in range(graph.n_layers):
            y = layer * self.step - self.half
            aside = 0.0 if share > 1 else 0.22
            places += [(x - aside, y) for x in self.head_x.tolist()]
            for of_width, shift in ((0.28, 0.0), (0.72, 0.22)):
                for group in range(graph.n_kv_heads):
                    if share == 1:
                        places.append((float(self.head_x[group]) + shift, y))
                    else:
                        left, right = self.bar(group)
                        places.append((left + of_width * (right - left), y - 0.1 * self.step))
            places.append((self.mlp_x, layer * self.step + self._raised - self.half))
        places.append((self.mlp_x / 2, self.height - self.half))
        return np.array(places)

    def bar(self, group: int) -> tuple[float, float]:
        """From where to where a group of heads reads its keys and values."""
        share = self.graph.n_heads // self.graph.n_kv_heads
        heads = self.head_x[group * share : (group + 1) * share]
        return float(heads[0]) - 0.32, float(heads[-1]) + 0.32

    @property
    def _raised(self) -> float:
        return 0.0 if self.graph.parallel else 0.45 * self.step


def _ranked(
    circuit: Circuit, scores: EdgeScores | None
) -> tuple[Integer[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """The alive edges, the weakest first so that the strongest lie on top, and their strengths."""
    edges = np.flatnonzero(circuit.alive)
    if scores is None:
        return edges, np.full(edges.size, 0.4)
    ranked = scores.ranked(circuit.provenance.get("by"))
    edges = edges[np.argsort(ranked[edges], kind="stable")]
    return edges, (np.arange(edges.size) + 1) / max(edges.size, 1)


def _draw_edges(
    axes: "Axes",
    layout: Layout,
    edges: Integer[np.ndarray, " K"],
    strength: Float[np.ndarray, " K"],
) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D

    graph = layout.graph
    alphas = min(0.9, 4 / max(edges.size, 1) ** 0.38) * (0.3 + 1.4 * strength**3)
    kinds = [_kind(graph.readers[reader]) for reader in graph.reader_of[edges].tolist()]
    colours = [
        to_rgba(_COLOURS[kind], min(1.0, a)) for kind, a in zip(kinds, alphas.tolist(), strict=True)
    ]
    writers, readers = graph.writer_of[edges].tolist(), graph.reader_of[edges].tolist()
    curves = [_curve(layout, w, r) for w, r in zip(writers, readers, strict=True)]
    lines = PathCollection(
        curves, facecolors="none", edgecolors=colours, linewidths=0.5 + 0.4 * strength
    )
    lines.set_zorder(1)
    axes.add_collection(lines)
    present = [kind for kind in _COLOURS if kind in kinds]
    axes.legend(
        [Line2D([], [], color=_COLOURS[kind], linewidth=1.5) for kind in present],
        [f"{_WORDS[kind]} {kinds.count(kind):,}" for kind in present],
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=5,
        fontsize=7,
        handlelength=1.2,
    )


def _curve(layout: Layout, writer: int, reader: int) -> "Curve":
    """A cubic curve that leaves upwards and arrives from below, bowed out within a column."""
    from matplotlib.path import Path as Curve

    graph = layout.graph
    (x0, y0), (x1, y1) = layout.writers[writer].tolist(), layout.readers[reader].tolist()
    from_input, to_logits = writer < graph.n_inputs, reader == graph.logits_reader
    middle = layout.mlp_x / 2
    if from_input and not to_logits:  # spread along the bar
        x0 += (x1 - middle) * 0.55 / graph.n_inputs
    if to_logits and not from_input:
        x1 += (x0 - middle) * 0.55
    y0 += layout.half
    rise = max(y1 - y0, 0.0)
    bend = max(0.42 * rise, 0.3 * layout.step)
    near = 0.0 if from_input or to_logits else max(0.0, 1 - abs(x1 - x0) / 1.2)
    bow = near * min(0.25 + 0.09 * rise, 1.4)
    points = [(x0, y0), (x0 + bow, y0 + bend), (x1 + bow, y1 - bend), (x1, y1)]
    return Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])


def _draw_components(
    axes: "Axes", layout: Layout, alive: Bool[np.ndarray, " E"], width: float | int
) -> None:
    from matplotlib.patches import FancyBboxPatch

    graph = layout.graph
    used = np.zeros(graph.n_writers, bool)
    used[graph.writer_of[alive]] = True
    a_unit = 72 * width / (layout.width + 1.6)  # in points
    size = min(6.5, 1.4 * layout.half * a_unit, 0.28 * a_unit)

    def box(x: float, y: float, w: float, fill: str, edge: str, above: bool) -> None:
        style = f"round,pad=0,rounding_size={0.5 * layout.half}"
        corner, h = (x - w / 2, y - layout.half), 2 * layout.half
        patch = FancyBboxPatch(corner, w, h, style, fc=fill, ec=edge, lw=0.5, zorder=2 * above)
        axes.add_patch(patch)

    def word(x: float, y: float, text: str, **look: Any) -> None:
        axes.text(x, y, text, va="center_baseline", **{"fontsize": size, "ha": "center", **look})

    for name, (x, y), on in zip(graph.writers, layout.writers.tolist(), used.tolist(), strict=True):
        if name in ("input", "tok", "pos"):
            box(x, y, 0.62 * layout.mlp_x / graph.n_inputs - 0.1, "white", _USED, True)
            word(x, y, name)
            continue
        box(x, y, 0.64, _INK if on else _UNUSED, "none", on)
        if on and size >= 3:
            word(x, y, name.removeprefix("a").replace(".h", "."), color="white")
    box(layout.mlp_x / 2, layout.height, 0.62 * layout.mlp_x - 0.1, "white", _USED, True)
    word(layout.mlp_x / 2, layout.height, "logits")
    for head, x in enumerate(layout.head_x.tolist()):
        word(x, -0.55, str(head), color=_USED)
    word(layout.mlp_x, -0.55, "MLP", color=_USED)
    for layer in range(graph.n_layers):
        word(-0.8, layer * layout.step, str(layer), color=_USED, ha="right")
        if graph.n_kv_heads < graph.n_heads:
            y = layer * layout.step - layout.half - 0.1 * layout.step
            for group in range(graph.n_kv_heads):
                axes.plot(layout.bar(group), (y, y), color="#c9ccd1", linewidth=0.6, zorder=0)


def _kind(reader: str) -> str:
    """ "q", "k" or "v" of "a3.h1<q>", "mlp" of "m3", "logits"."""
    if reader.endswith(">"):
        return reader[-2]
    return "logits" if reader == "logits" else "mlp"
