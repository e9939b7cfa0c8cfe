"""Phi 1, 1.5 and 2: parallel blocks that share one LayerNorm, biases everywhere."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="phi",
    layers="layers",
    final_norm="final_layernorm",
    attention="self_attn",
    mlp="mlp",
    mlp_out="mlp.fc2",
    out="dense",
    qkv=("q_proj", "k_proj", "v_proj"),
    attention_norm="input_layernorm",
    mlp_norm="input_layernorm",
    parallel=True,
    handled=frozenset({"qk_layernorm"}),
)
