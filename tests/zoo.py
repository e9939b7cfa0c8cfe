"""Tiny random models of every family, with its options on and off.

One line a model: the family, a space, what is special about it, and the settings that make it so.
Sizes are odd where they can be; heads come ungrouped (MHA), grouped (GQA) and with one k and v for
all (MQA).
"""

from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import tiny
from edgewise.graph import Embeddings
from edgewise.models.family import family_of
from edgewise.models.model import Model, build
from edgewise.models.tracr import TracrConfig, TracrForCausalLM

# By the names that a family's config gives its sizes.
LLAMA = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 23,
    "max_position_embeddings": 16,
}
GPT2 = {"n_embd": 15, "n_layer": 2, "n_head": 3, "n_positions": 16}
NEO = {"hidden_size": 15, "num_layers": 2, "num_heads": 3, "max_position_embeddings": 16}
NEOX = {
    "hidden_size": 18,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 16,
}
BLOOM = {"hidden_size": 15, "n_layer": 2, "n_head": 3}
MPT = {"d_model": 15, "n_layers": 2, "n_heads": 3, "max_seq_len": 16}
SIZES = {
    "gpt2": GPT2,
    "gpt_neo": NEO,
    "gpt_neox": NEOX,
    "gptj": {**GPT2, "n_embd": 18, "rotary_dim": 4},
    "gpt_bigcode": GPT2,
    "opt": {**NEOX, "ffn_dim": 17},
    "bloom": BLOOM,
    "mpt": MPT,
    "falcon": {**NEOX, "ffn_hidden_size": 19},
    "tracr": {**NEOX, "hidden_size": 15, "head_dim": 4, "n_outputs": tiny.VOCABULARY},
}

MHA = {"num_attention_heads": 5, "num_key_value_heads": 5, "hidden_size": 20}
MQA = {"num_attention_heads": 3, "num_key_value_heads": 1}
WIDE = {"head_dim": 10}  # 4 x 10 channels read a stream of width 24
EAGER = {"attn_implementation": "eager"}
GROUPED = {"experts_implementation": "grouped_mm"}  # in place of eager, which takes any size
WINDOW = {"sliding_window": 3}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0}
YARN |= {"original_max_position_embeddings": 4}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}
LONGROPE = {"rope_type": "longrope", "rope_theta": 100.0, "partial_rotary_factor": 1.0}
LONGROPE |= {"short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]}
LONGROPE |= {"original_max_position_embeddings": 4}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 7}
SHARED = {**EXPERTS, "shared_expert_intermediate_size": 9}
MIXTURE = {"num_local_experts": 5, "num_experts_per_tok": 2}
UPPER_WINDOW = {**WINDOW, "use_sliding_window": True, "max_window_layers": 1}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
GRANITE = {"attention_multiplier": 0.6, "embedding_multiplier": 3.0}
GRANITE |= {"residual_multiplier": 0.7, "logits_scaling": 2.0}

TABLE: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt2 untied relu": {"tie_word_embeddings": False, "activation_function": "relu", "n_inner": 7},
    "gpt2 scaled-by-layer": {"scale_attn_by_inverse_layer_idx": True, "n_embd": 14, "n_head": 2},
    "gpt2 unscaled eager": {"scale_attn_weights": False, **EAGER},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 3},
    "gpt_neo local untied": {
        "attention_types": [[["local"], 2]],
        "window_size": 2,
        "intermediate_size": 11,
        "tie_word_embeddings": False,
    },
    "gpt_neox": {},
    "gpt_neox sequential": {"use_parallel_residual": False, "hidden_act": "relu"},
    "gpt_neox no-bias full-rotary": {
        "attention_bias": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 1},
    },
    "gpt_neox tied eager": {"tie_word_embeddings": True, **EAGER},
    "gptj": {},
    "gptj tied": {"tie_word_embeddings": True, "rotary_dim": 2, "n_inner": 9},
    "gpt_bigcode mqa": {},
    "gpt_bigcode mha": {"multi_query": False},
    "gpt_bigcode unscaled eager": {"scale_attn_weights": False, "n_inner": 7, **EAGER},
    "opt": {},
    "opt no-bias no-gain": {"enable_bias": False, "layer_norm_elementwise_affine": False},
    "opt narrow-embedding": {"word_embed_proj_dim": 10, "activation_function": "gelu"},
    "bloom": {},
    "bloom five-heads": {"n_head": 5, "tie_word_embeddings": False},
    "mpt": {},
    "mpt clipped": {"attn_config": {"clip_qkv": 2.0, "softmax_scale": 0.4}, "n_heads": 5},
    "falcon 7b": {},
    "falcon 7b alibi bias eager": {"alibi": True, "bias": True, **EAGER},
    "falcon 7b heads-of-their-own": {"multi_query": False},
    "falcon rw": {"parallel_attn": False, "multi_query": False, "alibi": True, "bias": True},
    "falcon sequential mqa": {"parallel_attn": False, "activation": "relu"},
    "falcon 40b": {
        "new_decoder_architecture": True,
        "num_attention_heads": 6,
        "hidden_size": 24,
        "num_kv_heads": 2,
    },
    "falcon 40b one-norm": {
        "new_decoder_architecture": True,
        "num_kv_heads": 3,
        "num_ln_in_parallel_attn": 1,
        "tie_word_embeddings": False,
    },
    "llama gqa": WIDE,
    "llama mha bias": {**MHA, "attention_bias": True, "mlp_bias": True},
    "llama mqa tied eager": {**MQA, "tie_word_embeddings": True, **EAGER},
    "llama 3.1": {"rope_parameters": LLAMA3},
    "mistral window": {**WINDOW, **WIDE},
    "mistral mqa": {**MQA, "sliding_window": None},
    "mistral mha eager": {**MHA, **WINDOW, **EAGER, "tie_word_embeddings": True},
    "mixtral": MIXTURE,
    "mixtral grouped": {**MIXTURE, **GROUPED, "intermediate_size": 16, "head_dim": 4},
    "mixtral window mqa": {**MIXTURE, **WINDOW, **MQA, "num_experts_per_tok": 3},
    "qwen2": {},
    "qwen2 window mha tied": {**UPPER_WINDOW, **MHA, "tie_word_embeddings": True},
    "qwen2_moe": SHARED,
    "qwen2_moe some-plain": {**SHARED, "mlp_only_layers": [0], "norm_topk_prob": True, **MHA},
    "qwen2_moe window no-bias": {**SHARED, **UPPER_WINDOW, "qkv_bias": False},
    "qwen3": WIDE,
    "qwen3 window mqa bias": {**UPPER_WINDOW, **MQA, "head_dim": 4, "attention_bias": True},
    "qwen3_moe": {**EXPERTS, "head_dim": 4},
    "qwen3_moe every-other": {**EXPERTS, "head_dim": 6, "decoder_sparse_step": 2, **MHA},
    "gemma": WIDE,
    "gemma mqa bias untied": {
        **MQA,
        "head_dim": 8,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "gemma2": {"head_dim": 4, "query_pre_attn_scalar": 7, **WINDOW, **CAPS, **EAGER},
    "gemma2 uncapped mha bias": {
        "head_dim": 6,
        **MHA,
        **WINDOW,
        "attention_bias": True,
        "final_logit_softcapping": None,
        "attn_logit_softcapping": None,
    },
    "gemma3_text": {"head_dim": 6, "query_pre_attn_scalar": 7, **WINDOW},
    "gemma3_text mqa capped full": {
        "head_dim": 4,
        **MQA,
        "final_logit_softcapping": 3.0,
        "attention_bias": True,
        "layer_types": ["full_attention", "sliding_attention"],
        **WINDOW,
        **EAGER,
    },
    "phi": {**MHA, "hidden_size": 40},
    "phi gqa qk-norms": {
        "qk_layernorm": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 9.0, "partial_rotary_factor": 1},
    },
    "phi3": {"pad_token_id": None},
    "phi3 longrope window mha": {
        **MHA,
        **WINDOW,
        "rope_parameters": LONGROPE,
        "original_max_position_embeddings": 4,
        "tie_word_embeddings": True,
    },
    "olmo": {},
    "olmo clipped mha bias": {**MHA, "clip_qkv": 2.0, "attention_bias": True},
    "olmo2": {},
    "olmo2 mha bias": {**MHA, "attention_bias": True, "tie_word_embeddings": True},
    "olmo2 mqa eager": {**MQA, **EAGER},
    "stablelm": {},
    "stablelm parallel qk-norms bias": {
        "use_parallel_residual": True,
        "qk_layernorm": True,
        "use_qkv_bias": True,
    },
    "stablelm mha parallel": {**MHA, "hidden_size": 40, "use_parallel_residual": True},
    "starcoder2 window": WINDOW,
    "starcoder2 no-bias mqa untied": {**MQA, "use_bias": False, "tie_word_embeddings": False},
    "cohere": {"logit_scale": 0.3},
    "cohere qk-norms bias untied": {
        "use_qk_norm": True,
        "attention_bias": True,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "granite": GRANITE,
    "granite bias mha": {**GRANITE, **MHA, "attention_bias": True, "mlp_bias": True},
    "smollm3": {"no_rope_layers": [1, 0]},
    "smollm3 window bias": {
        **UPPER_WINDOW,
        "no_rope_layers": [0, 1],
        "attention_bias": True,
        "mlp_bias": True,
    },
    "gpt_oss": {**MIXTURE, **WINDOW, "head_dim": 4, "rope_parameters": YARN},
    "gpt_oss grouped": {**MIXTURE, **GROUPED, **WINDOW, "head_dim": 4, "intermediate_size": 8},
    "gpt_oss mqa no-bias": {
        **MIXTURE,
        **MQA,
        **WINDOW,
        "head_dim": 6,
        "attention_bias": False,
        "layer_types": ["full_attention", "sliding_attention"],
        "swiglu_limit": 1.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    "tracr": {},
    "tracr causal": {"causal": True},
}


def config(kind: str, **settings: Any) -> Any:
    """A family's config; `transformers` itself has no class for Tracr's."""
    return TracrConfig(**settings) if kind == "tracr" else AutoConfig.for_model(kind, **settings)


def hugging_face(name: str, **others: Any) -> nn.Module:
    """A fresh model of the table, with other settings if given; weights random, of real scale."""
    kind = name.split()[0]
    settings = tiny.SIZES | SIZES.get(kind, LLAMA) | TABLE[name] | others
    attention = settings.pop("attn_implementation", None)
    experts = settings.pop("experts_implementation", "eager")
    made = config(kind, **settings)
    made._experts_implementation = experts
    with torch.random.fork_rng():
        torch.manual_seed(0)  # `filled` adds to vectors what they begin with, which may be random
        if kind == "tracr":
            hf = TracrForCausalLM(made)
        else:
            hf = AutoModelForCausalLM.from_config(made, attn_implementation=attention)
    return tiny.filled(hf)


@cache
def model(name: str, embeddings: Embeddings = "joint", dtype: torch.dtype = torch.float32) -> Model:
    """A model of the table, adapted without proof; shared between tests, which change nothing."""
    hf = hugging_face(name).to(dtype)
    return build(hf, None, name, family_of(hf.config), embeddings)
