"""StableLM: sequential blocks, or parallel ones that share one LayerNorm."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="stablelm",
    mlp_norm=lambda config: (
        "input_layernorm" if config.use_parallel_residual else "post_attention_layernorm"
    ),
    parallel=lambda config: config.use_parallel_residual,
    handled=frozenset("use_parallel_residual use_qkv_bias qk_layernorm".split()),
)
