"""Granite: Llama's blocks with multipliers of embedding, attention scores, writes and logits."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="granite",
    residual_multiplier="residual_multiplier",
    handled=frozenset(
        "embedding_multiplier attention_multiplier residual_multiplier logits_scaling".split()
    ),
)
