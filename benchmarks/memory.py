"""What a step of Edge Pruning holds at its peak, weights apart, by shape.

    python benchmarks/memory.py [gpt2:16x20:float32 ...] [--write]

The step is that of `step.py`, after another one: every tensor alive is counted, gates, optimiser
and buffers that stay from step to step included; what libraries take for themselves and an
allocator keeps is not (`forecast.py` compares resident memory); it is the same on any processor
whose products come from the same library (`edgewise.ops.product`). In units of writers x tokens x
width x bytes, the size of the buffer of all differences. --write puts the table into
docs/scaling.md.
"""

import argparse

from dense import parsed
from step import CASES, Step, model_of
from table import fill

from edgewise.counting import Counter
from edgewise.table import aligned, markdown


def peak_of(case: str) -> tuple[int, int]:
    """Bytes at the peak of the second step, and of the buffer."""
    name, batch, tokens, dtype = parsed(case)
    model = model_of(name, dtype)
    with Counter() as counter:
        work = Step(model, batch, tokens)
        work.step()
        counter.restart()
        work.step()
    buffer = model.graph.n_writers * batch * tokens * model.width * dtype.itemsize
    return sum(counter.peak.values()), buffer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    lines = [("case", "buffer (MB)", "peak (MB)", "peak / buffer")]
    for case in given.cases:
        peak, buffer = peak_of(case)
        lines.append((case, f"{buffer / 1e6:.1f}", f"{peak / 1e6:.1f}", f"{peak / buffer:.2f}"))
        print(*lines[-1], sep="  ", flush=True)
    print(aligned(lines))
    if given.write:
        fill("memory", markdown(lines))


if __name__ == "__main__":
    main()
