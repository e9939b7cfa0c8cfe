"""What a step of Edge Pruning will take, from a model's config alone.

The step is the engine's own, run on the meta device with every gate open in part: each tensor it
makes is counted, and none has values. Two sizes of batch are counted. All that is held at a stage
of a step is so much whatever the batch, and so much for each prompt, which two counts tell apart;
any other batch follows. Which stage holds most depends on the batch.

Shapes: B prompts of T tokens, none of them padding, no two begun alike, one answer each; W writers,
D width.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from edgewise.counting import Counter, storage_bytes
from edgewise.discovery.budget import project
from edgewise.errors import ConfigError, DataError, ModelError
from edgewise.graph import Embeddings, Graph
from edgewise.models.family import family_of
from edgewise.models.model import Model, build
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import prepare
from edgewise.stream import dense_mask, masked_read
from edgewise.tasks.example import Batch, Example, collate

COUNTED = 4096  # tokens x layers of the smaller counted batch, about
MOST = 1024  # ranks asked about
ROOM = 0.05  # of a device's memory that its context and its allocator's gaps are left


@dataclass(frozen=True)
class Amount:
    """So much whatever the batch, and so much for each prompt; never below 0."""

    fixed: int
    each: int

    def of(self, prompts: int) -> int:
        return max(0, self.fixed + self.each * prompts)


@dataclass(frozen=True)
class Forecast:
    """A step of a model on prompts of `tokens` tokens.

    weights        bytes of the parameters and buffers
    blocks         bytes of the parameters of all blocks, the part that ranks share
    block          bytes of the largest block: a rank holds its own and the next one whole
    parts          bytes at a step's fullest stage with the batch that was asked about, by what they
                   are
    flops          operations of the matrix products of a step, reference runs included
    """

    name: str
    dtype: str
    tokens: int
    graph: Graph
    parameters: int
    weights: int
    blocks: int
    block: int
    parts: Mapping[str, Amount]
    flops: Amount

    def on_disk(self) -> "Forecast":
        """The same with the blocks left on disk: of them, two at a time are in memory."""
        held = self.weights - self.blocks + 2 * self.block
        return replace(self, weights=held, blocks=0, block=0)

    def memory(self, prompts: int, ranks: int = 1) -> dict[str, int]:
        """Bytes by part on the fullest of `ranks` ranks that share `prompts` and the blocks.

        Of more ranks than prompts, each runs one nevertheless (`edgewise.tasks.shares`).
        """
        mine = math.ceil(prompts / ranks)
        held = self.weights
        if ranks > 1:
            held += math.ceil(self.blocks / ranks) + 2 * self.block - self.blocks
        return {"weights": held} | {name: part.of(mine) for name, part in self.parts.items()}

    def peak(self, prompts: int, ranks: int = 1) -> int:
        """Bytes on the fullest rank."""
        return sum(self.memory(prompts, ranks).values())

    def fits(self, capacity: float | int, prompts: int, ranks: int = 1) -> bool:
        """Whether devices of `capacity` bytes hold it, with `ROOM` to spare."""
        return self.peak(prompts, ranks) <= capacity * (1 - ROOM)

    def largest_batch(self, capacity: float | int, ranks: int = 1) -> int:
        """The most prompts that `ranks` devices of `capacity` bytes hold; 0 if not one each."""
        few, many = 0, 1
        while self.fits(capacity, many * ranks, ranks):
            few, many = many, 2 * many
        while many - few > 1:
            middle = (few + many) // 2
            if self.fits(capacity, middle * ranks, ranks):
                few = middle
            else:
                many = middle
        return few * ranks

    def ranks(self, capacity: float | int, prompts: int) -> int | None:
        """The fewest devices of `capacity` bytes for `prompts`; None if no number up to `MOST` is
        enough."""
        found = (n for n in range(1, MOST + 1) if self.fits(capacity, prompts, n))
        return next(found, None)


def forecast(
    config: Any,
    *,
    tokens: int = 64,
    batch_size: int = 8,
    dtype: torch.dtype = torch.float32,
    embeddings: Embeddings = "joint",
    name: str | None = None,
) -> Forecast:
    """What a step takes, for a `transformers` config; exact for batches of about `batch_size`, and
    within a few percent for much larger ones.

    dtype    what the step runs in. `discover` searches a float32 model on a bfloat16 copy where
             the hardware multiplies that: then this is bfloat16, and the model itself comes on top

    Raises ModelError for a config that no family reads and for a model whose work depends on its
    values (experts chosen by a router), ConfigError for numbers below 1 and for more tokens than
    the model has learned positions.
    """
    for what, value in (("tokens", tokens), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{what}={value}: it must be at least 1")
    model = empty(config, dtype, embeddings)
    first = min(batch_size, max(1, COUNTED // (tokens * model.graph.n_layers)))
    batches = [_batch(prompts, tokens) for prompts in (first, first + 1)]
    dense_mask(model.graph, torch.zeros(model.graph.n_edges, device="meta"))  # keeps its layout
    counter = Counter("gates and optimiser")
    try:
        with counter:
            search = _Gates(model)
            counts = [_step(model, search, batch, counter) for batch in batches]
    except DataError as error:  # of prompts made here, only the length can be wrong
        raise ConfigError(f"tokens={tokens}: {error}") from error
    except RuntimeError as error:
        raise ModelError(
            f"{config.model_type}: a step in {dtype} can't be forecast from its config: what "
            "it computes depends on values (perhaps on which experts a router chooses) or on the "
            f"device: {error}"
        ) from error
    blocks = [list(block.module.parameters()) for block in model.blocks]
    (here, flops), (more, more_flops) = counts
    stages = [
        {part: _amount(first, size, more[stage][part]) for part, size in parts.items()}
        for stage, parts in here.items()
    ]
    return Forecast(
        name=name or config.model_type,
        dtype=model.dtype_name,
        tokens=tokens,
        graph=model.graph,
        parameters=sum(p.numel() for p in model.hf.parameters()),
        weights=storage_bytes([*model.hf.parameters(), *model.hf.buffers()]),
        blocks=sum(map(storage_bytes, blocks)),
        block=max(map(storage_bytes, blocks)),
        parts=max(stages, key=lambda parts: sum(part.of(batch_size) for part in parts.values())),
        flops=_amount(first, flops, more_flops),
    )


def _amount(prompts: int, here: int, with_one_more: int) -> Amount:
    return Amount(here - prompts * (with_one_more - here), with_one_more - here)


def empty(config: Any, dtype: torch.dtype, embeddings: Embeddings = "joint") -> Model:
    """The model on the meta device: shapes without values."""
    family = family_of(config)
    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config, dtype=dtype)
    hf.eval().requires_grad_(False)
    return build(hf, None, config.model_type, family, embeddings)


def _batch(prompts: int, tokens: int) -> Batch:
    example = Example((0,) * tokens, (0,) * tokens, (tokens - 1,), (0,))
    return collate([example] * prompts, 0)


class _Gates:
    """Gates after some steps: what `discovery.training` holds between two."""

    def __init__(self, model: Model):
        self.log_alpha = torch.zeros(model.graph.n_edges, device=model.device, requires_grad=True)
        self.log_alpha.grad = torch.zeros_like(self.log_alpha)
        self.optimiser = torch.optim.AdamW([self.log_alpha])
        self.optimiser.step()


def _step(
    model: Model, search: _Gates, batch: Batch, counter: Counter
) -> tuple[dict[str, dict[str, int]], int]:
    """Bytes by stage and part, each stage at its fullest and the weights apart; operations."""
    counter.restart()
    counter.stage = "prepare"
    ready = prepare(model, batch)
    full = storage_bytes([ready.full])
    prepared = counter.live["prepare"]
    counter.stage = "gates and optimiser"
    logits = search.log_alpha.detach().requires_grad_()
    mask = dense_mask(model.graph, gates.gate(logits))
    counter.stage = "forward"
    read = masked_read(model, mask, ready.outer, ready.run, ready.index)
    forward = counter.live["forward"]
    counter.stage = "logits"
    rows = kl_rows(ready.full, model.head(read), batch.token_set)
    (dread,) = torch.autograd.grad((rows * ready.batch.weights).sum(), read)
    counter.stage = "backward"
    read.backward(dread)
    counter.stage = "gates and optimiser"
    search.log_alpha.grad = project(logits.grad, torch.sigmoid(logits.detach()))
    search.optimiser.step()

    graph = model.graph
    wide = graph.writers_before_attention(graph.n_layers - 1)
    buffer = wide * ready.outer.tokens.count * model.width * model.dtype.itemsize

    def parts(peak: dict[str, int]) -> dict[str, int]:
        born = defaultdict(int, peak)
        held = min(born["prepare"], prepared)
        kept = min(born["forward"], forward)
        found = {
            "difference buffer": min(kept, buffer),
            "gradient buffer": min(max(0, kept - buffer), buffer),
            "kept projections": max(0, kept - 2 * buffer),
            "cached run": max(0, held - full),
            "logits": born["logits"] + min(held, full),
            "gates and optimiser": born["gates and optimiser"],
        }
        return found | {"block activations": sum(born.values()) - sum(found.values())}

    return {stage: parts(peak) for stage, peak in counter.peaks.items()}, counter.flops
