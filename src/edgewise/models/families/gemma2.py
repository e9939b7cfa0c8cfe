"""Gemma 2: norms before and after attention and MLP, soft-caps, windows in every other layer."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="gemma2",
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    norm_offset=1.0,
    handled=frozenset(
        """
        attn_logit_softcapping final_logit_softcapping query_pre_attn_scalar
        sliding_window layer_types
        """.split()
    ),
    refused={"use_bidirectional_attention": "a token would read what comes after it"},
)
