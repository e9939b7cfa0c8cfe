"""One optimisation step of Edge Pruning against plain Hugging Face work on the same tokens.

    python benchmarks/step.py [--model gpt2|smollm2-135m] [--batch 16] [--tokens 20]
        [--dtype float32]
                              [--threads 2] [--repeats 7]

The step: reference logits, corrupted run, gates, masked forward, backward, update; every gate open
in part, so nothing can be left out. The baseline: two no-grad forwards and one forward and backward
to the embeddings. Both are timed in turn, in one process, and medians are compared. Memory is the
peak above the weights while the step runs, against writers x tokens x width x bytes, the size of
the difference buffer.

Before anything is timed, the step's gradient is checked against a finite difference.
"""

import argparse
import gc
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise
from edgewise.ablation import interchange
from edgewise.models.model import Model
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.stream import dense_mask, full_read, masked_read


def model_named(name: str, dtype: str) -> Model:
    if name == "gpt2":
        torch.manual_seed(0)
        return edgewise.adapt(GPT2LMHeadModel(GPT2Config()).to(getattr(torch, dtype)))
    return edgewise.load(name, dtype=dtype)


class Step:
    """A model, a random batch with one answer position at each prompt's end, and gates."""

    def __init__(self, model: Model, batch: int, tokens: int):
        generator = torch.Generator().manual_seed(0)
        vocabulary = model.config.vocab_size
        shape = (batch, tokens)
        self.model = model
        self.clean = torch.randint(0, vocabulary, shape, generator=generator)
        self.other = torch.randint(0, vocabulary, shape, generator=generator)
        self.rows, self.cols = torch.arange(batch), torch.full((batch,), tokens - 1)
        self.log_alpha = torch.zeros(model.graph.n_edges, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.log_alpha], 0.01)
        self.noise = torch.rand(model.graph.n_edges, generator=generator) * 0.6 + 0.2

    def loss(self) -> torch.Tensor:
        model = self.model
        outer = model.outer(self.clean)
        index = outer.tokens.index(self.rows, self.cols)
        with torch.no_grad():
            full = model.head(full_read(model, outer, index))
        z = gates.sample(self.log_alpha, self.noise)
        run = interchange(model, self.other)
        read = masked_read(model, dense_mask(model.graph, z), outer, run, index)
        return kl_rows(full, model.head(read)).mean()

    def step(self) -> None:
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()

    def plain(self) -> None:
        hf = self.model.hf
        with torch.no_grad():
            hf(input_ids=self.clean, use_cache=False)
            hf(input_ids=self.other, use_cache=False)
        embedded = hf.get_input_embeddings()(self.clean).detach().requires_grad_()
        logits = hf(inputs_embeds=embedded, use_cache=False).logits[:, -1].float()
        logits.log_softmax(-1)[:, 0].sum().backward()

    def verify(self) -> float:
        """Relative error of the gradient along a random direction against a central difference."""
        direction = torch.randn_like(self.log_alpha)
        (gradient,) = torch.autograd.grad(self.loss(), self.log_alpha)
        expected = (gradient * direction).sum().item()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                self.log_alpha += sign * 1e-2 * direction
                ends.append(self.loss().item())
                self.log_alpha -= sign * 1e-2 * direction
        found = (ends[0] - ends[1]) / 2e-2
        return abs(found - expected) / abs(expected)


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_bytes(work: Callable[[], None]) -> int:
    """Highest resident size while `work` runs, above that before it; sampled every 2 ms."""
    gc.collect()
    page = 4096
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page  # noqa: E731
    before, highest, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return highest - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="gpt2")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = model_named(given.model, given.dtype)
    step = Step(model, given.batch, given.tokens)
    peak = peak_bytes(step.step)  # the first step: allocations that later ones reuse are seen
    error = step.verify()
    assert given.dtype != "float32" or error < 2e-2, f"wrong gradient: {error:.1%} off"
    ours, plain = [], []
    step.plain()
    for _ in range(given.repeats):
        ours.append(seconds(step.step))
        plain.append(seconds(step.plain))
    a, b = statistics.median(ours), statistics.median(plain)
    tokens = given.batch * given.tokens
    buffer = model.graph.n_writers * tokens * model.width * step.model.dtype.itemsize
    print(
        f"{given.model} {given.batch}x{given.tokens} {given.dtype}, {given.threads} threads, "
        f"{platform.machine()}: step {a:.2f} s, plain {b:.2f} s, ratio {a / b:.2f}; "
        f"peak {peak / 1e6:.0f} MB = {peak / buffer:.2f} x writers x tokens x width; "
        f"gradient error {error:.1e}"
    )


if __name__ == "__main__":
    main()
