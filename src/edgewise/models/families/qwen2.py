"""Qwen 2 and 2.5: Llama's blocks with biases on q, k and v; upper layers may attend to a window."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="qwen2",
    handled=frozenset("use_sliding_window sliding_window max_window_layers layer_types".split()),
)
