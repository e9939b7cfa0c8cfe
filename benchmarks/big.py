"""Real optimisation steps of models as large as the machine, or larger, beside their forecast.

    python benchmarks/big.py --folder runs/big codellama-7b:2x64 codellama-13b:4x64:disk [--write]

A case is a shape, prompts x tokens, and "disk" if the weights are to stay in their files. Its
weights are random, bfloat16, and written to the folder once, if the disk has room for them; then
two steps of `edgewise.discover` are taken, every gate open in part: the first makes the reference
and corrupted runs, the second finds them kept. On a CPU files are mapped, so pages of weights that
the process has seen count as resident although the system may drop them at any time. Reported
beside that is what it can't drop, and the forecast for it: all but the mapped weights. Each case
runs in a process of its own. --write puts the table into docs/scaling.md.
"""

import argparse
import json
import shutil
import threading
import time
from pathlib import Path

import torch
from dense import apart, config_of, search
from safetensors.torch import save_file
from table import fill
from torch import Tensor

import edgewise
from edgewise.forecast import Forecast, empty, forecast
from edgewise.table import markdown

DTYPE = torch.bfloat16
STATUS = Path("/proc/self/status")


def written(name: str, folder: Path) -> Path:
    """The checkpoint of a shape, one file a block; written unless it is there."""
    place = folder / name.replace("/", "-")
    index = place / "model.safetensors.index.json"
    if index.exists():
        return place
    model = empty(config_of(name), DTYPE)
    shapes = dict(model.hf.named_parameters())
    size = sum(p.numel() for p in shapes.values()) * DTYPE.itemsize
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < 1.05 * size:
        raise SystemExit(f"{name} takes {size / 1e9:.1f} GB, more than {place} has left")
    layers = f"{model.hf.base_model_prefix}.{model.family.layers}."
    files: dict[str, list[str]] = {}
    for key in shapes:
        block = key.removeprefix(layers).split(".")[0] if key.startswith(layers) else "outer"
        files.setdefault(f"model-{block}.safetensors", []).append(key)
    generator = torch.Generator().manual_seed(0)
    for file, keys in files.items():
        save_file({k: random(shapes[k], generator) for k in keys}, place / file, {"format": "pt"})
    model.config.dtype = DTYPE
    model.config.save_pretrained(place)
    where = {key: file for file, keys in files.items() for key in keys}
    index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    return place


def random(like: Tensor, generator: torch.Generator) -> Tensor:
    """A matrix of N(0, 0.02), a vector of ones."""
    if like.ndim < 2:
        return torch.ones(like.shape, dtype=DTYPE)
    return torch.empty(like.shape, dtype=DTYPE).normal_(0, 0.02, generator=generator)


def anonymous() -> int:
    """Bytes of this process's memory that are in no file."""
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def one(case: str, folder: Path) -> dict[str, float]:
    """What two steps take."""
    name, prompts, tokens, on_disk = parsed(case)
    place = written(name, folder)
    began = time.perf_counter()
    model = edgewise.load(
        place, dtype=DTYPE, device="cpu", offload="disk" if on_disk else None, check=False
    )
    loaded, before = time.perf_counter() - began, anonymous()
    highest, done = before, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, anonymous())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    found = search(model, prompts, tokens, steps=2)
    done.set()
    watcher.join()
    first, second = (record["seconds"] for record in found.history)
    return {
        "load": loaded,
        "first": first,
        "second": second - first,
        "working": highest - before,
        "resident": found.scores.provenance["peak_bytes"],
    }


def parsed(case: str) -> tuple[str, int, int, bool]:
    name, size, *rest = case.split(":")
    prompts, tokens = map(int, size.split("x"))
    if rest not in ([], ["disk"]):
        raise SystemExit(f"{case}: after the sizes comes :disk or nothing")
    return name, prompts, tokens, rest == ["disk"]


def expected(case: str) -> tuple[Forecast, int]:
    """The forecast, and its bytes without the weights that are mapped."""
    name, prompts, tokens, on_disk = parsed(case)
    found = forecast(config_of(name), batch_size=prompts, tokens=tokens, dtype=DTYPE)
    copied = 2 * found.block if on_disk else 0
    return found, sum(part.of(prompts) for part in found.parts.values()) + copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(one(given.cases[0], given.folder)))
        return
    head = ("case", "weights (GB)", "TFLOP", "load (s)", "first step (s)", "second step (s)")
    head += ("working memory: forecast (GB)", "measured", "error", "resident (GB)")
    lines = [head]
    for case in given.cases:
        model, working = expected(case)
        threads = str(given.threads)
        found = apart(__file__, case, "--one", "--folder", str(given.folder), "--threads", threads)
        prompts = parsed(case)[1]
        lines.append(
            (
                case,
                f"{model.weights / 1e9:.1f}",
                f"{model.flops.of(prompts) / 1e12:.1f}",
                *(f"{found[name]:.1f}" for name in ("load", "first", "second")),
                f"{working / 1e9:.3f}",
                f"{found['working'] / 1e9:.3f}",
                f"{working / found['working'] - 1:+.1%}",
                f"{found['resident'] / 1e9:.2f}",
            )
        )
        print(*lines[-1], sep=" | ", flush=True)
    if given.write:
        fill("big", markdown(lines), given.threads)


if __name__ == "__main__":
    main()
