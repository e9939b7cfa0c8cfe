"""How the time and memory of a step grow: with tokens, batch, layers, heads and so edges.

    python benchmarks/growth.py [--only tokens ...] [--repeats 5] [--threads 2] [--write]

From one base shape, one number is changed at a time; every gate is open in part, so nothing can be
left out. Each point runs in a process of its own and gives the median time of a step whose
reference runs are kept, and the peak memory above the weights. Exponents are slopes of least
squares lines through the points, in logarithms. Beside them stand those of the forecast: memory and
operations (of the reference runs too) that `edgewise.forecast` counts at the same points. --write
puts the table into docs/scaling.md and the figure beside it.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from dense import apart, search
from table import PAGE, fill
from transformers import AutoModelForCausalLM, GPT2Config

import edgewise
from edgewise.forecast import forecast
from edgewise.graph import Graph
from edgewise.peak import Peak
from edgewise.table import aligned, markdown

FIGURE = PAGE.parent / "images" / "growth.svg"
SHOWN = f"![Time and memory of a step on logarithmic axes](images/{FIGURE.name})"


@dataclass(frozen=True)
class Point:
    """A GPT-2 shape and a batch."""

    tokens: int = 32
    batch: int = 8
    layers: int = 8
    heads: int = 12
    width: int = 768

    @property
    def config(self) -> GPT2Config:
        return GPT2Config(
            n_layer=self.layers,
            n_head=self.heads,
            n_embd=self.width,
            vocab_size=1000,
            bos_token_id=0,
            eos_token_id=0,
        )

    @property
    def edges(self) -> int:
        return Graph(self.layers, self.heads, self.heads).n_edges


SWEEPS: Mapping[str, Sequence[int]] = {
    "tokens": (16, 32, 64, 128),
    "batch": (4, 8, 16, 32),
    "layers": (4, 8, 16, 32),
    "heads": (6, 12, 24, 48),
}


def measured(point: Point, repeats: int) -> dict[str, float]:
    """Seconds of a step and bytes at its peak above the weights."""
    hf = AutoModelForCausalLM.from_config(point.config, dtype=torch.float32)
    model = edgewise.adapt(hf, check=False)
    search(model, point.batch, point.tokens, steps=1)  # libraries load, kernels are made
    before = Peak.begin(model.device).n_bytes()
    found = search(model, point.batch, point.tokens, steps=1 + repeats)
    ends = [record["seconds"] for record in found.history]
    steps = [b - a for a, b in pairwise(ends)]
    return {
        "seconds": statistics.median(steps),
        "bytes": found.scores.provenance["peak_bytes"] - before,
    }


def counted(point: Point) -> dict[str, float]:
    """Operations and bytes of a step by the forecast."""
    found = forecast(point.config, batch_size=point.batch, tokens=point.tokens)
    bytes_ = found.peak(point.batch) - found.weights
    return {"operations": found.flops.of(point.batch), "bytes": bytes_}


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """k of y = c x^k, by least squares in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Seconds and gigabytes against each number, on logarithmic axes, with the fitted lines."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(3 * len(curves), 5), layout="constrained")
    grid = figure.subplots(2, len(curves), squeeze=False, sharey="row")
    for column, (name, curve) in zip(grid.T, curves.items(), strict=True):
        x = np.array(curve["x"], float)
        for axes, y, unit in zip(column, ("seconds", "bytes"), ("s", "GB"), strict=True):
            values = np.array(curve[y]) / (1 if unit == "s" else 1e9)
            slope, start = np.polyfit(np.log(x), np.log(values), 1)
            axes.loglog(x, values, "o")
            axes.loglog(x, np.exp(start) * x**slope, label=f"exponent {slope:.2f}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_xticks(x, [f"{value:,.0f}" for value in x])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_xlabel(name)
            axes.legend(frameon=False)
    grid[0, 0].set_ylabel("seconds a step")
    grid[1, 0].set_ylabel("GB above the weights")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": FIGURE.name}):
        figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--base", type=json.loads, default={}, help='such as {"width": 96}')
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(measured(Point(**given.one), given.repeats)))
        return
    base, curves = Point(**given.base), {}
    for name in given.only:
        found = []
        for value in SWEEPS[name]:
            point = replace(base, **{name: value})
            flags = ["--repeats", str(given.repeats), "--threads", str(given.threads)]
            real = apart(__file__, "--one", json.dumps(vars(point)), *flags)
            found.append((point, real, counted(point)))
            print(
                name, value, f"{real['seconds']:.3f} s, {real['bytes'] / 1e6:,.0f} MB", flush=True
            )
        points, real, forecasts = zip(*found, strict=True)
        curves[name] = {
            "x": SWEEPS[name],
            "edges": [point.edges for point in points],
            "seconds": [r["seconds"] for r in real],
            "bytes": [r["bytes"] for r in real],
            "operations": [f["operations"] for f in forecasts],
            "counted bytes": [f["bytes"] for f in forecasts],
        }
    for name in ("layers", "heads"):
        if name in curves:
            curves[f"edges, by {name}"] = {**curves[name], "x": curves[name]["edges"]}
    lines = [("against", "from", "to", "time", "operations, counted", "memory", "memory, counted")]
    for name, curve in curves.items():
        x = curve["x"]
        slopes = (
            f"{exponent(x, curve[y]):.2f}"
            for y in ("seconds", "operations", "bytes", "counted bytes")
        )
        lines.append((name, f"{x[0]:,}", f"{x[-1]:,}", *slopes))
    print(aligned(lines))
    if given.write:
        draw(curves)
        fill("growth", f"{SHOWN}\n\n{markdown(lines)}", given.threads)


if __name__ == "__main__":
    main()
