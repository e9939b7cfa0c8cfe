"""A step of edgewise against one of auto-circuit and one of the paper's implementation.

    python benchmarks/peers.py --scratch runs/peers [--paper FOLDER] [--batch 16] [--tokens 20]
        [--layers 12] [--repeats 3] [--threads 2] [--write]

The same work in each: GPT-2 small with random weights of its own, frozen, float32; the same random
prompts with one answer at the end; reference logits, corrupted run, masked run over every edge
forward and backward to the gates, update. Every gate is open in part, so none is left out. Each
runs in a process of its own; time is the median of the repeats, memory the peak above the weights.
What differs is said in `drivers/autocircuit.py` and `drivers/paper.py`.

auto-circuit lives in an environment that the script makes in the scratch folder (900 MB: the
versions that still work together), which borrows torch from this one; pip says there that edgewise
wants another transformers, and it isn't used there. The paper's code is run in it too, from a copy
of its repository, princeton-nlp/Edge-Pruning, that you have. --write puts the table into
docs/scaling.md.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

from table import fill

from edgewise.table import aligned, markdown

DRIVERS = Path(__file__).parent / "drivers"
OLD = (
    "auto-circuit==1.0.1",
    "transformer-lens==2.15.4",
    "transformers==4.49.0",
    "numpy==2.2.6",
    "pyarrow<21",
    "datasets<4",
)


def environment(scratch: Path) -> Path:
    """The Python of an environment that has `OLD`; made unless it is there.

    It sees this environment's packages after its own, so that torch isn't fetched again.
    """
    place = scratch / "venv"
    python, done = place / "bin" / "python", place / "installed"
    if not done.exists():
        venv.create(place, with_pip=True, clear=True)
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    borrowed = sysconfig.get_path("purelib")
    Path(own, "borrowed.pth").write_text(f"import site; site.addsitedir({borrowed!r})\n")
    if not done.exists():
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, *OLD, f"torch=={version('torch').partition('+')[0]}"], check=True)
        done.touch()
    return python


def run(python: Path | str, driver: str, given: argparse.Namespace, *more: str) -> dict[str, Any]:
    """What a driver prints."""
    sizes = [f"--{n}={getattr(given, n)}" for n in ("batch", "tokens", "layers", "repeats")]
    command = [python, DRIVERS / f"{driver}.py", *sizes, f"--threads={given.threads}", *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scratch", type=Path, required=True, help="keeps the environment")
    parser.add_argument("--paper", type=Path, help="a copy of princeton-nlp/Edge-Pruning")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    python = environment(given.scratch.resolve())
    found = {"edgewise": run(sys.executable, "ours", given)}
    found["auto-circuit 1.0.1"] = run(python, "autocircuit", given)
    if given.paper is not None:
        found["the paper's"] = run(python, "paper", given, f"--paper={given.paper.resolve()}")
    ours = found["edgewise"]
    lines = [("implementation", "edges", "KL", "seconds a step", "ratio", "peak (GB)", "ratio")]
    for name, each in found.items():
        time, peak = (each[what] / ours[what] for what in ("seconds", "bytes"))
        lines.append(
            (
                name,
                f"{each['edges']:,}",
                f"{each['kl']:.2f}",
                f"{each['seconds']:.2f}",
                f"{time:.1f}",
                f"{each['bytes'] / 1e9:.2f}",
                f"{peak:.1f}",
            )
        )
    print(aligned(lines))
    if given.write:
        fill("peers", markdown(lines), given.threads)


if __name__ == "__main__":
    main()
