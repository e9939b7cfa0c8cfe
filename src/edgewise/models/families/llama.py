"""Llama 1 to 3, Code Llama, SmolLM: sequential blocks, RMSNorm, grouped k and v."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="llama",
    layers="layers",
    final_norm="norm",
    attention="self_attn",
    mlp="mlp",
    mlp_out="mlp.down_proj",
    out="o_proj",
    qkv=("q_proj", "k_proj", "v_proj"),
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
)
