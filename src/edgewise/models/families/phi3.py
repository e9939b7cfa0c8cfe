"""Phi 3, 3.5 and 4: Llama's blocks with q, k and v fused, and the MLP's gate too."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="phi3",
    qkv=("qkv_proj",),
    handled=frozenset("sliding_window original_max_position_embeddings".split()),
)
