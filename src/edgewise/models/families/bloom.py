"""BLOOM: sequential blocks, q, k and v fused head by head, ALiBi, a norm on the embedding."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="bloom",
    layers="h",
    final_norm="ln_f",
    attention="self_attention",
    mlp="mlp",
    mlp_out="mlp.dense_4h_to_h",
    out="dense",
    qkv=("query_key_value",),
    layout="grouped",
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    mlp_adds_stream=True,
    refused={
        "apply_residual_connection_post_layernorm": "norms rewrite the stream: no sum of writes",
        "slow_but_exact": "projections are cut by hand, past the modules that are read",
    },
)
