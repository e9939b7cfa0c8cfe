"""The forecast of `edgewise plan` against what a search really takes: peak memory, by shape.

    python benchmarks/forecast.py [--cases gpt2:16x20:float32 ...] [--threads 2] [--write]

Each case runs in a process of its own: random weights, then a step of `edgewise.discover` with
every gate open in part. Measured is the largest resident size above that before the search, which
has the weights; the forecast for it leaves the weights out too. So the error is that of the
working memory alone; of the whole peak it is smaller. Two things no forecast knows are left out:
the kernels that oneDNN makes for a model's shapes, by a first search, and the holes of freed memory
that glibc's heap keeps, by MALLOC_MMAP_THRESHOLD_=65536; each is a hundred megabytes or more,
whatever the batch. --write puts the table into docs/scaling.md.
"""

import argparse
import json
import os
import subprocess
import sys

import torch
from table import fill
from transformers import AutoModelForCausalLM, PretrainedConfig

import edgewise
from edgewise.forecast import forecast
from edgewise.models.shapes import shape
from edgewise.peak import Peak
from edgewise.tasks.example import Example

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


def config_of(name: str) -> PretrainedConfig:
    """A shape, or "shape/n": one with n layers."""
    name, _, layers = name.partition("/")
    config = shape(name)
    if layers:
        config.num_hidden_layers = int(layers)
    return config


def parsed(case: str) -> tuple[str, int, int, torch.dtype]:
    name, size, dtype = case.split(":")
    prompts, tokens = map(int, size.split("x"))
    return name, prompts, tokens, getattr(torch, dtype)


def peak_of_search(case: str) -> int:
    """Peak bytes above the weights of the second of two searches: the first makes the kernels."""
    name, prompts, tokens, dtype = parsed(case)
    config = config_of(name)
    model = edgewise.adapt(AutoModelForCausalLM.from_config(config, dtype=dtype), check=False)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (prompts, 2, tokens), generator=generator).tolist()
    examples = [Example(tuple(a), tuple(b), (tokens - 1,), (0,)) for a, b in ids]
    task = edgewise.Task("random", {"train": examples}, pad_id=0)
    method = edgewise.EdgePruning(
        steps=1, batch_size=prompts, init="open", start_density=0.5, precision="model"
    )
    edgewise.discover(model, task, method)
    before = Peak.begin(model.device).n_bytes()
    return edgewise.discover(model, task, method).scores.provenance["peak_bytes"] - before


def measured(case: str, threads: int) -> int:
    """`peak_of_search` in a process of its own, whose heap gives back what is freed."""
    command = [sys.executable, __file__, "--one", case, "--threads", str(threads)]
    place = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=place)
    return json.loads(done.stdout.splitlines()[-1])


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
    rows = []
    for case in given.cases:
        name, prompts, tokens, dtype = parsed(case)
        expected = forecast(config_of(name), batch_size=prompts, tokens=tokens, dtype=dtype)
        above = expected.peak(prompts) - expected.weights
        found = measured(case, given.threads)
        error = above / found - 1
        whole = (above - found) / (found + expected.weights)
        rows.append(
            f"| {name} | {prompts} x {tokens} | {expected.dtype} | {expected.weights / 1e6:,.0f} "
            f"| {above / 1e6:,.0f} | {found / 1e6:,.0f} | {error:+.1%} | {whole:+.1%} |"
        )
        print(rows[-1], flush=True)
        if abs(error) > ALLOWED:
            print(f"more than {ALLOWED:.0%} off", file=sys.stderr)
    header = "shape | batch | dtype | weights (MB) | forecast | measured | error | of all"
    rows = [f"| {header} |", "| --- | --- | --- | --- | --- | --- | --- | --- |", *rows]
    if given.write:
        fill("forecast", rows)


if __name__ == "__main__":
    main()
