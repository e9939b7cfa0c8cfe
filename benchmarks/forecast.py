"""The forecast of `edgewise plan` against what a search really takes: peak memory, by shape.

    python benchmarks/forecast.py [--cases gpt2:16x20:float32 ...] [--threads 2] [--write]

Each case runs in a process of its own: random weights, then a step of `edgewise.discover` with
every gate open in part. Measured is the largest resident size above that before the search, which
has the weights; the forecast for it leaves the weights out too. So the error is that of the
working memory alone; of the whole peak it is smaller. The kernels that oneDNN makes for a model's
shapes, a hundred megabytes whatever the batch, are left out by a first search. --write puts the
table into docs/scaling.md.
"""

import argparse
import json
import sys

import torch
from dense import apart, config_of, parsed, search
from table import fill
from transformers import AutoModelForCausalLM

import edgewise
from edgewise.forecast import forecast
from edgewise.peak import Peak
from edgewise.table import markdown

CASES = (
    "gpt2:16x20:float32",
    "gpt2:8x64:float32",
    "gpt2:32x64:bfloat16",
    "gpt2-medium:8x32:float32",
    "pythia-160m:16x32:float32",
    "smollm2-135m:16x20:bfloat16",
    "smollm2-135m:4x128:float32",
    "llama-3.2-1b:8x32:bfloat16",
    "codellama-7b/4:4x32:bfloat16",
)
ALLOWED = 0.1


def peak_of_search(case: str) -> int:
    """Peak bytes above the weights of the second of two searches."""
    name, prompts, tokens, dtype = parsed(case)
    hf = AutoModelForCausalLM.from_config(config_of(name), dtype=dtype)
    model = edgewise.adapt(hf, check=False)
    search(model, prompts, tokens, steps=1)
    before = Peak.begin(model.device).n_bytes()
    found = search(model, prompts, tokens, steps=1)
    return found.scores.provenance["peak_bytes"] - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="*", default=CASES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(peak_of_search(given.one)))
        return
    head = "shape", "batch", "dtype", "weights (MB)", "forecast", "measured", "error", "of all"
    lines = [head]
    for case in given.cases:
        name, prompts, tokens, dtype = parsed(case)
        expected = forecast(config_of(name), batch_size=prompts, tokens=tokens, dtype=dtype)
        above = expected.peak(prompts) - expected.weights
        found = apart(__file__, "--one", case, "--threads", str(given.threads))
        error, whole = above / found - 1, (above - found) / (found + expected.weights)
        sizes = [f"{size / 1e6:,.0f}" for size in (expected.weights, above, found)]
        errors = [f"{error:+.1%}", f"{whole:+.1%}"]
        lines.append((name, f"{prompts} x {tokens}", expected.dtype, *sizes, *errors))
        print(*lines[-1], sep=" | ", flush=True)
        if abs(error) > ALLOWED:
            print(f"more than {ALLOWED:.0%} off", file=sys.stderr)
    if given.write:
        fill("forecast", markdown(lines), given.threads)


if __name__ == "__main__":
    main()
