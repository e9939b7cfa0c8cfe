"""Shapes of well-known models, for forecasts and benchmarks where no hub is to be reached.

The settings are those of their published `config.json` that change what a step computes.
"""

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PretrainedConfig


def shape(name: str) -> PretrainedConfig:
    """The config of `SHAPES[name]`."""
    settings = dict(SHAPES[name])
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def _gpt2(layers: int, heads: int, width: int) -> Mapping[str, Any]:
    return {"model_type": "gpt2", "n_layer": layers, "n_head": heads, "n_embd": width}


def _llama(
    layers: int, heads: int, groups: int, width: int, hidden: int, vocabulary: int, **rest: Any
) -> Mapping[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "hidden_size": width,
        "intermediate_size": hidden,
        "vocab_size": vocabulary,
        **rest,
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "gpt2": _gpt2(12, 12, 768),
    "gpt2-medium": _gpt2(24, 16, 1024),
    "gpt2-large": _gpt2(36, 20, 1280),
    "gpt2-xl": _gpt2(48, 25, 1600),
    "pythia-160m": {
        "model_type": "gpt_neox",
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "vocab_size": 50304,
    },
    "smollm2-135m": _llama(30, 9, 3, 576, 1536, 49152, tie_word_embeddings=True),
    "llama-3.2-1b": _llama(16, 32, 8, 2048, 8192, 128256, head_dim=64, tie_word_embeddings=True),
    "llama-3.1-8b": _llama(32, 32, 8, 4096, 14336, 128256),
    "llama-3.1-70b": _llama(80, 64, 8, 8192, 28672, 128256),
    "codellama-7b": _llama(32, 32, 32, 4096, 11008, 32016),
    "codellama-13b": _llama(40, 40, 40, 5120, 13824, 32016),
}
