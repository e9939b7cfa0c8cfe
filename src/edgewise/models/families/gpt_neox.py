"""GPT-NeoX, Pythia: parallel blocks (or not), LayerNorms, q, k and v fused head by head."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="gpt_neox",
    layers="layers",
    final_norm="final_layer_norm",
    attention="attention",
    mlp="mlp",
    mlp_out="mlp.dense_4h_to_h",
    out="dense",
    qkv=("query_key_value",),
    layout="grouped",
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    parallel=lambda config: config.use_parallel_residual,
    handled=frozenset("use_parallel_residual rotary_pct rotary_emb_base".split()),
)
