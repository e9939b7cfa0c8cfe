"""GPT-2: sequential blocks, LayerNorm, one fused Conv1D for q, k and v, learned positions."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="gpt2",
    layers="h",
    final_norm="ln_f",
    attention="attn",
    mlp="mlp",
    mlp_out="mlp.c_proj",
    out="c_proj",
    qkv=("c_attn",),
    attention_norm="ln_1",
    mlp_norm="ln_2",
    positions=True,
    handled=frozenset(
        {
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
            "reorder_and_upcast_attn",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        }
    ),
)
