"""Where heads look, in the full model and in a masked run.

Few implementations of attention give their weights away, so they are asked for by their effect.
What a head puts out before W_O is o_t = sum_s A_ts v_s. With values that say from which token they
come, v_s = e_s, that is the row A_t itself, as many tokens at a time as a head has channels.
Queries and keys are the run's, and what the model does to them (rotary angles, windows, biases,
soft-caps, sinks) is the model's own, whichever implementation it uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from edgewise.ablation import Ablation, Means, ablated, plain
from edgewise.attention import Attention
from edgewise.circuit import Circuit
from edgewise.errors import GraphError
from edgewise.models.block import Block
from edgewise.models.blocks import Blocks
from edgewise.models.model import Model
from edgewise.models.shadow import Call
from edgewise.models.tokens import Tokens
from edgewise.prepared import reference_means
from edgewise.stream import as_mask, masked_read
from edgewise.tasks.example import Example
from edgewise.tasks.task import Task

PROMPTS = 2
BUDGET = 300_000  # weights of all prompts, of both sides: bytes, before base64 makes them 4 / 3


@torch.no_grad()
def attention(
    model: Model,
    circuit: Circuit,
    example: Example,
    heads: Sequence[str],
    *,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
) -> Attention:
    """The patterns of `heads` ("a5.h1", ...) in a prompt, of the full model and of the circuit.

    Raises what `run` raises, and GraphError for a head that the model doesn't have.
    """
    places = [_place(model, head) for head in heads]
    clean, corrupted = (
        torch.tensor([ids], device=model.device) for ids in (example.clean, example.corrupted)
    )
    outer = model.outer(clean)
    full = [state.qkv for state in plain(model, outer, [])]
    other = ablated(model, outer, ablation, corrupted, None, reference)
    other = replace(other, layers=tuple(other.states()))  # whose attention isn't to be heard
    listening = tuple(_Listening.to(block) for block in model.blocks.parts)
    heard = replace(model, blocks=Blocks(listening, model.blocks.keeper))
    masked_read(heard, as_mask(model, circuit), outer, other)
    masked = [block.heard[-1] for block in listening]

    def patterns(qkv: Sequence[Tensor]) -> Float32[np.ndarray, "K T T"]:
        found = np.zeros((len(places), len(example.clean), len(example.clean)), np.float32)
        for number, (block, call) in enumerate(zip(model.blocks, outer.calls, strict=True)):
            here = [k for k, (layer, _) in enumerate(places) if layer == number]
            if here:
                chosen = [places[k][1] for k in here]
                weights = weights_of(block, qkv[number], call, outer.tokens)[chosen]
                found[here] = weights.float().cpu().numpy()
        return found

    tokens = tuple(model.text((token,)) for token in example.clean)
    return Attention(tokens, tuple(heads), patterns(full), patterns(masked))


def weights_of(
    block: Block, qkv: Float[Tensor, "R T C"], call: Call, tokens: Tokens
) -> Float[Tensor, "H T T"]:
    """How much each token of one prompt attends to each, for given queries and keys."""
    assert tokens.batch == 1
    queries_and_keys = block.n_heads + block.n_kv_heads
    columns = []
    for names in torch.eye(tokens.length, device=qkv.device).split(block.head_dim, dim=1):
        probe = qkv.clone()
        probe[queries_and_keys:] = 0
        probe[queries_and_keys:, :, : names.shape[1]] = names.to(qkv.dtype)
        columns.append(block.attend(probe, call, tokens)[..., : names.shape[1]])
    return torch.cat(columns, -1).transpose(0, 1)


def of_samples(
    model: Model,
    task: Task,
    circuit: Circuit,
    split: str = "test",
    *,
    ablation: Ablation = "interchange",
    reference: Means | None = None,
) -> tuple[Attention, ...]:
    """The patterns of a circuit's busiest heads in a split's first prompts, as far as BUDGET goes.

    Arguments and errors as for `evaluate`.
    """
    if ablation == "mean" and reference is None:
        reference = reference_means(model, task)
    first = task.examples(split)[:PROMPTS]
    a_head = sum(len(one.clean) * (len(one.clean) + 1) for one in first)
    heads = busiest(circuit)[: BUDGET // a_head]
    if not heads:
        return ()
    return tuple(
        attention(model, circuit, one, heads, ablation=ablation, reference=reference)
        for one in first
    )


def busiest(circuit: Circuit) -> list[str]:
    """The heads on a path to the logits, those with most alive edges first.

    An edge into shared keys or values is one of each head that they are shared by.
    """
    counts, graph = circuit.pruned().summary(), circuit.graph
    shared = np.repeat(counts.k_in + counts.v_in, graph.n_heads // graph.n_kv_heads, axis=1)
    busy = np.where(counts.head_out > 0, counts.head_out + counts.q_in + shared, 0).ravel()
    order = np.argsort(-busy, kind="stable")[: int((busy > 0).sum())]
    return [f"a{head // graph.n_heads}.h{head % graph.n_heads}" for head in order.tolist()]


@dataclass(frozen=True, eq=False)
class _Listening(Block):
    """A block that keeps the queries, keys and values that its attention is given."""

    heard: list[Float[Tensor, "R N C"]]

    @classmethod
    def to(cls, block: Block) -> "_Listening":
        return cls(**{one.name: getattr(block, one.name) for one in fields(Block)}, heard=[])

    def attend(
        self, qkv: Float[Tensor, "R N C"], call: Call, tokens: Tokens
    ) -> Float[Tensor, "N H C"]:
        self.heard.append(qkv)
        return super().attend(qkv, call, tokens)


def _place(model: Model, head: str) -> tuple[int, int]:
    """Layer and number of a head by its name."""
    graph = model.graph
    for_each = [w for w in graph.writers if w.startswith("a")]
    if head not in for_each:
        raise GraphError(
            f"there is no head {head!r}: they are {for_each[0]} to {for_each[-1]}, as the writers "
            "are named"
        )
    return divmod(for_each.index(head), graph.n_heads)
