"""Tiny random models whose every part matters, and prompts for them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
)

import oracle
from edgewise import ablation
from edgewise.graph import Embeddings
from edgewise.models.families.gemma2 import FAMILY as GEMMA2
from edgewise.models.families.gpt2 import FAMILY as GPT2
from edgewise.models.families.gpt_neox import FAMILY as NEOX
from edgewise.models.families.granite import FAMILY as GRANITE
from edgewise.models.families.llama import FAMILY as LLAMA
from edgewise.models.families.olmo2 import FAMILY as OLMO2
from edgewise.models.family import Family
from edgewise.models.model import Model, build
from edgewise.stream import masked_read

VOCABULARY = 41


SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
SMALL_GPT2 = {"n_layer": 2, "n_head": 3, "n_embd": 15, "n_positions": 16}
SMALL_LLAMA = {
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "hidden_size": 18,
    "intermediate_size": 23,
    "max_position_embeddings": 16,
}
WIDE_HEADS = {"head_dim": 4}  # 6 x 4 channels read a stream of width 18


def gpt2(attention: str = "sdpa", **settings: object) -> nn.Module:
    config = GPT2Config(**SIZES | SMALL_GPT2 | settings, attn_implementation=attention)
    return filled(GPT2LMHeadModel(config))


def llama(attention: str = "sdpa", **settings: object) -> nn.Module:
    given = SIZES | SMALL_LLAMA | WIDE_HEADS | settings
    return filled(LlamaForCausalLM(LlamaConfig(**given, attn_implementation=attention)))


def gemma2() -> nn.Module:
    config = Gemma2Config(
        **SIZES | SMALL_LLAMA | WIDE_HEADS,
        query_pre_attn_scalar=8,
        sliding_window=3,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
        attn_implementation="eager",
    )
    return filled(Gemma2ForCausalLM(config))


def neox() -> nn.Module:
    given = {k: v for k, v in SMALL_LLAMA.items() if k != "num_key_value_heads"}
    config = GPTNeoXConfig(**SIZES | given | {"num_attention_heads": 3, "hidden_size": 12})
    return filled(GPTNeoXForCausalLM(config))


def olmo2() -> nn.Module:
    given = SIZES | SMALL_LLAMA | {"num_attention_heads": 4, "hidden_size": 16}
    return filled(Olmo2ForCausalLM(Olmo2Config(**given, attention_bias=True)))


def granite() -> nn.Module:
    config = GraniteConfig(
        **SIZES | SMALL_LLAMA | {"num_attention_heads": 4, "hidden_size": 16},
        attention_bias=True,
        attention_multiplier=0.6,
        embedding_multiplier=3.0,
        residual_multiplier=0.7,
        logits_scaling=2.0,
    )
    return filled(GraniteForCausalLM(config))


MODELS: dict[str, tuple[Family, Callable[[], nn.Module]]] = {
    "gpt2": (GPT2, gpt2),
    "gpt2-eager": (GPT2, lambda: gpt2("eager")),
    "gpt2-one-head": (GPT2, lambda: gpt2(n_head=1, n_inner=7, tie_word_embeddings=False)),
    "gpt2-scaled": (
        GPT2,
        lambda: gpt2(n_layer=3, scale_attn_by_inverse_layer_idx=True, activation_function="relu"),
    ),
    "gpt2-upcast": (GPT2, lambda: gpt2("eager", reorder_and_upcast_attn=True)),
    "llama-gqa": (LLAMA, llama),
    "llama-gqa-eager": (LLAMA, lambda: llama("eager")),
    "llama-mha": (LLAMA, lambda: llama(num_attention_heads=3, num_key_value_heads=3, head_dim=6)),
    "llama-mqa": (LLAMA, lambda: llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True)),
    "llama-tied": (
        LLAMA,
        lambda: llama(tie_word_embeddings=True, num_hidden_layers=1, rms_norm_eps=1e-2),
    ),
    "llama-rope": (
        LLAMA,
        lambda: llama(
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
    ),
    # Parallel blocks and a fused projection by kv head; norms after attention and MLP, with and
    # without norms before; a multiplier of all writes.
    "parallel": (NEOX, neox),
    "post-norm": (GEMMA2, gemma2),
    "post-norm-only": (OLMO2, olmo2),
    "multiplier": (GRANITE, granite),
}
# Equation (1) is exact in float64 where the model's own norms and attention keep to its dtype.
EXACT = ("gpt2", "gpt2-eager", "gpt2-one-head", "gpt2-scaled", "parallel")
FLOAT32_ONLY = ("gpt2-upcast",)


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
    """A model of the table, adapted without proof; shared between tests, which change nothing."""
    family, make = MODELS[name]
    return build(make().to(dtype), None, name, family, embeddings)


def setting(model: Model) -> oracle.Setting:
    return oracle.Setting(model.hf, model.family, model.graph)


def seen(model: Model, x: Tensor) -> Tensor:
    """What the model's norms leave of x: LayerNorms take its mean off."""
    norms = [part for part in model.hf.modules() if "LayerNorm" in type(part).__name__]
    return x - x.mean(-1, keepdim=True) if norms else x


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
    """Random pairs: without padding they part at the first token, with it some begin alike."""
    generator = torch.Generator().manual_seed(seed)
    clean, corrupted = torch.randint(0, VOCABULARY, (2, *shape), generator=generator)
    if padding == "none":
        corrupted[:, 0] = (clean[:, 0] + 1) % VOCABULARY
        return Prompts(clean, corrupted, None)
    for row, alike in ((0, 3), (-1, 2)):
        corrupted[row, :alike] = clean[row, :alike]
    lengths = torch.arange(shape[1], shape[1] - shape[0], -1).clamp(min=1)[:, None]
    right = torch.arange(shape[1]) < lengths
    return Prompts(clean, corrupted, right if padding == "right" else right.flip(1))


def random_mask(model: Model, seed: int = 2, dtype: torch.dtype | None = None) -> Tensor:
    """Fractions on every edge, a fifth of them 0 and a fifth 1; a free input's entries 1."""
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
    model: Model,
    kind: str,
    given: Prompts,
    per_position: bool = True,
    with_oracle: bool = True,
) -> tuple[ablation.AblatedRun, oracle.Run | None]:
    """The same ablated run twice: the engine's and the oracle's."""
    outer = model.outer(given.clean, given.mask)
    means = reference(model, per_position) if kind == "mean" else None
    ours = ablation.ablated(model, outer, kind, given.corrupted, given.mask, means)
    if not with_oracle:
        return ours, None
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
    """The largest difference, over the largest value; 0 where both are 0."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert bool(torch.isfinite(ours).all()), "not finite"
    difference = (ours.double() - theirs.double()).abs().max()
    return (difference / theirs.double().abs().max().clamp(min=1e-30)).item()
