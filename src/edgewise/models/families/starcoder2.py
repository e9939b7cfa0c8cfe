"""StarCoder 2: sequential blocks, LayerNorms, biases, grouped k and v, attending to a window."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="starcoder2",
    mlp_out="mlp.c_proj",
    handled=frozenset("norm_epsilon use_bias sliding_window".split()),
)
