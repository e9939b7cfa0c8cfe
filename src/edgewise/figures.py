"""Figures for papers: faithfulness against density for several runs, and a circuit as a picture.

They need matplotlib (`pip install 'edgewise[plot]'`) and are written as PDF, SVG or PNG, by the
file's suffix. Nothing random or dated goes in: the same input gives the same file.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewise.errors import ConfigError, DataError
from edgewise.files import atomic_write
from edgewise.report import Report
from edgewise.table import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIXES = (".pdf", ".svg", ".png")
_STYLE: dict[str, Any] = {
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4df",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.4,
    "lines.markersize": 3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text that can be searched and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "edgewise",
}
# Told apart by most colour-blind readers, and by their markers in grey.
_LOOKS = (
    ("#1f5fb8", "o"),
    ("#c2410c", "s"),
    ("#12806d", "^"),
    ("#8a4bb0", "D"),
    ("#b58d12", "v"),
    ("#5d626d", "P"),
)
_METRICS = {
    "kl": "KL divergence (nats)",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "logit_difference": "logit difference",
    "probability_difference": "probability difference",
    "kendall_tau": "Kendall's tau",
}
# Rows of a report, as lines across.
_LINES = (("full", "full model", "-"), ("empty", "no edges", "--"))


def plot(
    reports: Mapping[str, Report],
    path: str | os.PathLike[str],
    metrics: Sequence[str] = ("kl", "exact_match"),
) -> Path:
    """Metrics against density, a panel each and a line for each run, into the file `path`.

    Lines go through the points of the reports' curves, in bands of their 95% intervals. The
    circuits are larger points with theirs. Grey lines are the full model and no edges, where all
    reports agree on them.

    Raises ConfigError without matplotlib or for another suffix, DataError if there is nothing to
    plot or a report lacks a metric.
    """
    if not reports or not metrics:
        raise DataError("nothing to plot: give one report and one metric or more")
    for name, report in reports.items():
        for metric in metrics:
            try:
                report.metric(metric)
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
    names = [*reports, *(label for _, label, _ in _LINES)]
    rows = ceil(len(names) / (2 * len(metrics)))
    with paper(path, 2.9 * len(metrics), 2.5 + 0.16 * rows) as figure:
        drawn: dict[str, Any] = {}
        for place, metric in enumerate(metrics):
            axes = figure.add_subplot(1, len(metrics), place + 1)
            _panel(axes, reports, metric)
            handles, labels = axes.get_legend_handles_labels()
            drawn |= dict(zip(labels, handles, strict=True))
        order = sorted(drawn, key=names.index)
        # Outside: in a panel a name's marker could be taken for a measurement.
        figure.legend(
            [drawn[name] for name in order], order, loc="outside lower center",
            ncols=ceil(len(names) / rows), fontsize=7,
        )  # fmt: skip
    return Path(path)


def _panel(axes: "Axes", reports: Mapping[str, Report], metric: str) -> None:
    for (name, report), (colour, marker) in zip(
        reports.items(), _cycled(len(reports)), strict=True
    ):
        points = [(p.density, p.metrics[metric]) for p in report.curve if metric in p.metrics]
        if points:
            k = [density for density, _ in points]
            axes.plot(k, [e.mean for _, e in points], color=colour, marker=marker, label=name)
            low, high = [e.low for _, e in points], [e.high for _, e in points]
            axes.fill_between(k, low, high, color=colour, alpha=0.15, linewidth=0)
        row = report.rows["circuit"]
        if row.density > 0:
            found = row.metrics[metric]
            ends = [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar(
                [row.density], [found.mean], ends, color=colour, marker=marker, markersize=5,
                markeredgecolor="white", capsize=2, zorder=3, label=None if points else name,
            )  # fmt: skip
    for name, label, dash in _LINES:
        means = [r.rows[name].metrics[metric].mean for r in reports.values() if name in r.rows]
        if means and max(means) - min(means) <= 1e-3 * max(1.0, *map(abs, means)):
            look = {"color": "#a5a8ae", "linewidth": 0.8, "linestyle": dash, "zorder": 0}
            axes.axhline(means[0], label=label, **look)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda density, _: percent(density))
    axes.set_xlabel("density (kept edges / all edges)")
    axes.set_title(_METRICS.get(metric, metric.replace("_", " ")), loc="left")


def _cycled(n: int) -> list[tuple[str, str]]:
    return [_LOOKS[i % len(_LOOKS)] for i in range(n)]


@contextmanager
def paper(
    path: str | os.PathLike[str], width: float | int, height: float | int
) -> Iterator["Figure"]:
    """An empty figure of that many inches, written to `path` at the end of the block.

    Raises ConfigError without matplotlib or if the path's suffix is no format of a figure.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: a figure's file must end in one of {', '.join(_SUFFIXES)}")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "figures need matplotlib, which is not installed: pip install 'edgewise[plot]'"
        ) from error
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
        content = io.BytesIO()
        figure.savefig(content, format=suffix[1:], dpi=300, metadata=dated)
    atomic_write(path, content.getvalue())
