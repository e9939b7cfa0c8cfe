"""SantaCoder, StarCoder: GPT-2's blocks with one key and value head for all queries, or not."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="gpt_bigcode",
    layers="h",
    final_norm="ln_f",
    attention="attn",
    mlp="mlp",
    mlp_out="mlp.c_proj",
    out="c_proj",
    qkv=("c_attn",),
    layout=lambda config: "concat" if config.multi_query else "grouped",
    attention_norm="ln_1",
    mlp_norm="ln_2",
    positions=True,
    handled=frozenset(
        """
        multi_query scale_attn_weights attention_softmax_in_fp32 scale_attention_softmax_in_fp32
        """.split()
    ),
    refused={"add_cross_attention": "there is no encoder whose states it could read"},
)
