"""Gemma 3's language models: Gemma 2's blocks, a norm on every query and key, no soft-caps."""

from dataclasses import replace

from edgewise.models.families.gemma2 import FAMILY as GEMMA2

FAMILY = replace(
    GEMMA2,
    model_type="gemma3_text",
    handled=frozenset(
        """
        final_logit_softcapping query_pre_attn_scalar sliding_window layer_types
        sliding_window_pattern _sliding_window_pattern rope_local_base_freq
        """.split()
    ),
    refused={**GEMMA2.refused, "attn_logit_softcapping": "transformers itself ignores it"},
)
