"""GPT-Neo: GPT-2's blocks with separate projections; every other layer attends to a window only."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="gpt_neo",
    layers="h",
    final_norm="ln_f",
    attention="attn.attention",
    mlp="mlp",
    mlp_out="mlp.c_proj",
    out="out_proj",
    qkv=("q_proj", "k_proj", "v_proj"),
    attention_norm="ln_1",
    mlp_norm="ln_2",
    positions=True,
    handled=frozenset("num_heads num_layers attention_types attention_layers window_size".split()),
)
