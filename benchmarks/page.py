"""Frame times of the page while its density slider is dragged, in a headless Chromium.

    python benchmarks/page.py [--edges 5000] [--frames 200] [--component a6.h3]

The page is of GPT-2 small's graph with random scores. Every frame moves the slider by a stop, back
and forth around --edges, as a pointer does; the time from a frame to the next is what is reported.
Before that, edge counts at the ends of the drag are checked against `EdgeScores.top`. There is no
GPU: everything is drawn by the processor.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgewise.graph import Graph
from edgewise.page import view
from edgewise.scores import EdgeScores

DRAG = """
    const [edges, frames, done] = arguments;
    const slider = document.getElementById("slider"), times = [];
    edgewise.change({ k: edges });
    let middle = null, last = null, i = 0;
    const frame = (now) => {
      if (middle === null) middle = Number(slider.value);
      else if (last !== null) times.push(now - last);
      last = now;
      slider.value = middle - 20 + Math.abs((i % 80) - 40);
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      if (++i <= frames + 1) requestAnimationFrame(frame); else done(times);
    };
    requestAnimationFrame(() => requestAnimationFrame(frame));
"""


def scores_of(graph: Graph) -> EdgeScores:
    """Random, by writer and reader, so that most of the best edges are alive."""
    draw = np.random.default_rng(0)
    writers, readers = draw.normal(size=graph.n_writers), draw.normal(size=graph.n_readers)
    noise = 0.5 * draw.normal(size=graph.n_edges)
    values = writers[graph.writer_of] + readers[graph.reader_of] + noise
    return EdgeScores(graph, values.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--edges", type=int, default=5000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--component", help="a component that is chosen meanwhile")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from browser import Page, chromium

    scores = scores_of(Graph(12, 12, 12))
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        file = view(scores.top(given.edges), Path(folder) / "page.html", scores=scores)
        page = Page(driver, file)
        for k in (given.edges // 2, given.edges):
            page.change(k=k)
            expected = scores.top(k)
            shown = [page.number("#n-edges"), page.number("#n-alive")]
            assert shown == [k, int(expected.alive.sum())], (k, shown)
        if given.component:
            page.node(given.component).click()
        driver.set_script_timeout(600)
        times = sorted(driver.execute_async_script(DRAG, given.edges, given.frames))
        version, size = driver.capabilities["browserVersion"], file.stat().st_size
    slow = times[int(0.95 * len(times))]
    print(
        f"{given.edges:,} edges, {len(times)} frames: median {statistics.median(times):.1f} ms, "
        f"95% within {slow:.1f} ms, longest {times[-1]:.1f} ms\n"
        f"Chromium {version} on {platform.machine()}, a page of {size / 1000:.0f} kB"
    )


if __name__ == "__main__":
    main()
