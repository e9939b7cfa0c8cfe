"""StarCoder 2: sequential blocks, LayerNorms, biases, grouped k and v, attending to a window."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="starcoder2",
    handled=frozenset("norm_epsilon use_bias sliding_window".split()),
)
