"""MPT: sequential blocks, LayerNorms without bias, one fused projection, ALiBi."""

from edgewise.models.family import Family

FAMILY = Family(
    model_type="mpt",
    layers="blocks",
    final_norm="norm_f",
    attention="attn",
    mlp="ffn",
    mlp_out="ffn.down_proj",
    out="out_proj",
    qkv=("Wqkv",),
    attention_norm="norm_1",
    mlp_norm="norm_2",
    mlp_adds_stream=True,
    handled=frozenset(
        """
        d_model n_heads n_layers max_seq_len embedding_fraction
        attn_config.attn_impl attn_config.clip_qkv attn_config.softmax_scale
        """.split()
    ),
    refused=dict.fromkeys(
        """
        expansion_ratio learned_pos_emb logit_scale no_bias norm_type
        attn_config.attn_type attn_config.prefix_lm attn_config.qk_ln
        attn_config.attn_uses_sequence_id attn_config.alibi attn_config.alibi_bias_max
        """.split(),
        "transformers itself ignores it",
    ),
)
