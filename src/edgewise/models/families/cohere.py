"""Command R: parallel blocks whose attention and MLP share one LayerNorm, scaled logits."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="cohere",
    mlp_norm="input_layernorm",
    parallel=True,
    handled=frozenset("logit_scale use_qk_norm".split()),
)
