"""OLMo 2: norms after attention and MLP, none before, and one over all queries of a token."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="olmo2",
    attention_norm=None,
    attention_post_norm="post_attention_layernorm",
    mlp_norm=None,
    mlp_post_norm="post_feedforward_layernorm",
    joint_qk_norm=True,
)
