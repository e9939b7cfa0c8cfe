"""GPT-J: parallel blocks that share one LayerNorm, rotary angles in part of a head."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="gptj",
    layers="h",
    final_norm="ln_f",
    attention="attn",
    mlp="mlp",
    mlp_out="mlp.fc_out",
    out="out_proj",
    qkv=("q_proj", "k_proj", "v_proj"),
    attention_norm="ln_1",
    mlp_norm="ln_1",
    parallel=True,
    handled=frozenset({"rotary_dim"}),
)
