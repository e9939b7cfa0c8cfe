"""Qwen 3: Llama's blocks with a norm on every query and key."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="qwen3",
    handled=frozenset("use_sliding_window sliding_window max_window_layers layer_types".split()),
)
