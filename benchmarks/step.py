"""One optimisation step of Edge Pruning against plain Hugging Face work on the same tokens.

    python benchmarks/step.py [gpt2:16x20:float32 ...] [--threads 2] [--repeats 5] [--write]

A case is a shape, prompts x tokens, and a dtype. Weights are random, but for smollm2-135m.

step    reference logits and corrupted run, gates, masked forward, backward, update; every gate open
        in part, so nothing can be left out
plain   two no-grad forwards, and one forward and backward to the embeddings
alike   that, with linear layers multiplied by the library that the step uses, where it isn't
        PyTorch's own choice (`edgewise.ops.product`)
EAP     corrupted run, full run, and the gradient for all edges, over the forward and backward alone

Operations are those of the matrix products of step and plain work, counted on the meta device.
All are timed in turn, in one process for each case, a bfloat16 case with a step in float32 among
them, and medians are compared. What a step holds is in `memory.py`.

Before anything is timed, the step's gradient is checked against a finite difference. --write puts
the table into docs/scaling.md.
"""

import argparse
import json
import sys
from dataclasses import replace

import plain
import torch
from dense import apart, config_of, medians, parsed
from table import fill
from torch import Tensor
from transformers import AutoModelForCausalLM

import edgewise
from edgewise.ablation import beside, interchange
from edgewise.counting import Counter
from edgewise.forecast import empty, forecast
from edgewise.gradient import FullRun
from edgewise.models.model import Model
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.ops.product import linears
from edgewise.stream import dense_mask, masked_read, own_tokens
from edgewise.table import aligned, markdown
from edgewise.workspace import Workspace

BATCHES = ("16x20", "4x20", "8x64")
CASES = (
    *(f"{name}:{b}:{t}" for name in ("gpt2", "smollm2-135m") for t in ("float32", "bfloat16")
      for b in BATCHES),
    *(f"{name}:8x20:{t}" for name in ("gpt2-medium", "pythia-160m", "llama-3.2-1b")
      for t in ("float32", "bfloat16")),
)  # fmt: skip
WRONG = 2e-2  # relative error of a float32 gradient that isn't the finite difference's


def model_of(name: str, dtype: torch.dtype) -> Model:
    if name == "smollm2-135m":
        return edgewise.load(name, dtype=dtype, device="cpu")
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(config_of(name), dtype=dtype)
    return edgewise.adapt(hf, check=False)


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
        self.workspace = Workspace()
        self.noise = torch.rand(model.graph.n_edges, generator=generator) * 0.6 + 0.2

    def loss(self) -> Tensor:
        model = self.model
        outer = model.outer(self.clean)
        index = outer.tokens.index(self.rows, self.cols)
        run, stream = beside(model, self.clean, self.other, ends=index.unique())
        mask = dense_mask(model.graph, gates.sample(self.log_alpha, self.noise))
        read = masked_read(model, mask, outer, run, index, workspace=self.workspace)
        with torch.no_grad():
            full = model.head(stream[0][index])
        return kl_rows(full, model.head(read)).mean()

    def step(self) -> None:
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()

    def attribution(self) -> None:
        model = self.model
        outer = model.outer(self.clean)
        index = outer.tokens.index(self.rows, self.cols)
        other = interchange(model, self.other, ends=index.unique())
        other = replace(other, layers=tuple(other.layers))
        own = own_tokens(model, outer, other, index)
        run = FullRun(model, outer, other, own, index, graphs=True)
        read = run.read.requires_grad_()
        (dread,) = torch.autograd.grad(model.head(read).float().log_softmax(-1)[:, 0].sum(), read)
        run.gradient(dread, run.less(self.workspace, run.slices))

    def forwards(self) -> None:
        plain.forwards(self.model.hf, self.clean, self.other)

    def backward(self) -> None:
        plain.backward(self.model.hf, self.clean, self.rows, self.cols)

    def alike(self) -> None:
        with linears(self.model.hf.get_input_embeddings().weight):
            self.forwards()
            self.backward()

    def verify(self) -> float:
        """Relative error of the gradient against a central difference, along the signs of its
        entries: along a random direction what is left after they cancel is hardly more than
        float32's rounding of the loss."""
        (gradient,) = torch.autograd.grad(self.loss(), self.log_alpha)
        direction = gradient.sign()
        expected = (gradient * direction).sum().item()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                self.log_alpha += sign * 1e-2 * direction
                ends.append(self.loss().item())
                self.log_alpha -= sign * 1e-2 * direction
        found = (ends[0] - ends[1]) / 2e-2
        return abs(found - expected) / abs(expected)


def operations(case: str) -> float:
    """Those of a step over those of the plain work."""
    name, batch, tokens, dtype = parsed(case)
    config = config_of(name)
    hf = empty(config, dtype).hf
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
    with Counter() as counter:
        plain.forwards(hf, ids, ids)
        plain.backward(hf, ids, torch.arange(batch), torch.full((batch,), tokens - 1))
    ours = forecast(config, tokens=tokens, batch_size=batch, dtype=dtype)
    return ours.flops.of(batch) / counter.flops


def measured(case: str, repeats: int) -> dict[str, float]:
    """Median seconds of each kind of work, and the error of the gradient."""
    name, batch, tokens, dtype = parsed(case)
    model = model_of(name, dtype)
    work = Step(model, batch, tokens)
    error = work.verify()
    assert dtype != torch.float32 or error < WRONG, f"{case}: wrong gradient, {error:.1%} off"
    kinds = (work.step, work.forwards, work.backward, work.alike, work.attribution)
    named = {kind.__name__: kind for kind in kinds}
    if dtype != torch.float32:
        named["float32"] = Step(model_of(name, torch.float32), batch, tokens).step
    return {**medians(named, repeats), "error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(measured(given.cases[0], given.repeats)))
        return
    lines = [
        ("case", "step (s)", "plain (s)", "step / plain", "step / plain, same products",
         "operations / plain's", "float32 step / this", "EAP / plain pass")
    ]  # fmt: skip
    for case in given.cases:
        flags = ["--one", "--threads", str(given.threads), "--repeats", str(given.repeats)]
        found = apart(__file__, case, *flags, tidy=False)
        theirs = found["forwards"] + found["backward"]
        lines.append(
            (
                case,
                f"{found['step']:.2f}",
                f"{theirs:.2f}",
                f"{found['step'] / theirs:.2f}",
                f"{found['step'] / found['alike']:.2f}",
                f"{operations(case):.2f}",
                f"{found['float32'] / found['step']:.2f}" if "float32" in found else "",
                f"{found['attribution'] / found['backward']:.2f}",
            )
        )
        print(*lines[-1], f"gradient error {found['error']:.1e}", sep="  ", file=sys.stderr)
    print(aligned(lines))
    if given.write:
        fill("step", markdown(lines), given.threads)


if __name__ == "__main__":
    main()
