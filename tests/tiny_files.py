"""Tiny random models whose every part matters, and prompts for them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import oracle
from edgewise import ablation, adapt
from edgewise.graph import Embeddings
from edgewise.models.model import Model
from edgewise.stream import masked_read

VOCABULARY = 41


def gpt2(attention: str = "sdpa", **settings) -> GPT2LMHeadModel:
    given = {"n_layer": 2, "n_head": 3, "n_embd": 15, "n_positions": 16, "vocab_size": VOCABULARY}
    config = GPT2Config(**given | settings, attn_implementation=attention)
    return filled(GPT2LMHeadModel(config))


def llama(attention: str = "sdpa", **settings) -> LlamaForCausalLM:
    given = {
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "hidden_size": 18,
        "intermediate_size": 23,
        "head_dim": 4,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 16,
    }
    config = LlamaConfig(**given | settings, attn_implementation=attention)
    return filled(LlamaForCausalLM(config))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": gpt2,
    "gpt2-eager": lambda: gpt2("eager"),
    "gpt2-one-head": lambda: gpt2(n_head=1, n_inner=7, tie_word_embeddings=False),
    "gpt2-scaled": lambda: gpt2(
        "eager",
        n_layer=3,
        scale_attn_by_inverse_layer_idx=True,
        reorder_and_upcast_attn=True,
        activation_function="relu",
    ),
    "llama-gqa": llama,
    "llama-gqa-eager": lambda: llama("eager"),
    "llama-mha": lambda: llama(num_attention_heads=3, num_key_value_heads=3, head_dim=6),
    "llama-mqa": lambda: llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    "llama-tied": lambda: llama(tie_word_embeddings=True, num_hidden_layers=1, rms_norm_eps=1e-2),
    "llama-rope": lambda: llama(
        num_hidden_layers=3,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8,
        },
    ),
}


def filled(hf: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights large enough that attention is sharp; biases and norms' gains random too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in hf.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise * (1.5 / parameter.shape[-1] ** 0.5)
        else:
            parameter.data = parameter.data + 0.3 * noise
    return hf.eval().requires_grad_(False)


@cache
def model(name: str, embeddings: Embeddings = "joint", dtype: torch.dtype = torch.float32) -> Model:
    """An adapted model of the table; shared between tests, which change nothing in it."""
    return adapt.adapt(MODELS[name]().to(dtype), embeddings=embeddings, check=False)


def setting(model: Model) -> oracle.Setting:
    return oracle.Setting(model.hf, model.family, model.graph)


@dataclass(frozen=True, eq=False)
class Prompts:
    """B = 3 clean and corrupted prompts of up to T = 5 tokens."""

    clean: Tensor
    corrupted: Tensor
    mask: Tensor | None

    @property
    def kept(self) -> Tensor:
        return torch.ones_like(self.clean, dtype=torch.bool) if self.mask is None else self.mask


def prompts(padding: str = "none", shape: tuple[int, int] = (3, 5), seed: int = 1) -> Prompts:
    generator = torch.Generator().manual_seed(seed)
    clean, corrupted = torch.randint(0, VOCABULARY, (2, *shape), generator=generator)
    if padding == "none":
        return Prompts(clean, corrupted, None)
    lengths = torch.arange(shape[1], shape[1] - shape[0], -1).clamp(min=1)[:, None]
    right = torch.arange(shape[1]) < lengths
    return Prompts(clean, corrupted, right if padding == "right" else right.flip(1))


def random_mask(model: Model, seed: int = 2, dtype: torch.dtype | None = None) -> Tensor:
    """Fractional entries on every edge, a fifth of them 0 and a fifth 1; a free input's entries 1."""
    generator = torch.Generator().manual_seed(seed)
    graph = model.graph
    z = torch.rand(graph.n_readers, graph.n_writers, generator=generator) * 1.7 - 0.35
    z = z.clamp(0, 1) * torch.from_numpy(graph.valid.copy())
    free = torch.from_numpy(graph.causal & ~graph.valid)
    return torch.where(free, 1.0, z).to(dtype or model.dtype)


REFERENCE = (prompts("right", seed=11), prompts("none", seed=12))


def reference(model: Model, per_position: bool = True) -> ablation.Means:
    return ablation.means(model, [(p.clean, p.mask) for p in REFERENCE], per_position)


def ablated(
    model: Model, kind: str, given: Prompts, per_position: bool = True
) -> tuple[ablation.AblatedRun, oracle.Run]:
    """The same ablated run twice: the engine's and the oracle's."""
    outer = model.outer(given.clean, given.mask)
    means = reference(model, per_position) if kind == "mean" else None
    ours = ablation.ablated(model, outer, kind, given.corrupted, given.mask, means)
    if kind == "interchange":
        theirs = oracle.interchange(setting(model), given.corrupted, given.mask)
    elif kind == "mean":
        batches = [(p.clean, p.mask) for p in REFERENCE]
        theirs = oracle.mean(setting(model), batches, given.clean, per_position)
    else:
        theirs = oracle.nothing(setting(model), given.clean)
    return ours, theirs


def engine_logits(
    model: Model,
    mask: Tensor,
    given: Prompts,
    run: ablation.AblatedRun,
    index: Tensor | None = None,
    live: bool = False,
) -> Tensor:
    """The engine's logits at the packed tokens `index` (None: all), differentiable in `mask`."""
    outer = model.outer(given.clean, given.mask)
    return model.head(masked_read(model, mask, outer, run, index, live))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, over the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert bool(torch.isfinite(ours).all()), "not finite"
    return ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()).item()
