"""Falcon: q, k and v fused, ALiBi or rotary angles, and blocks in three forms.

Falcon-40B and later (`new_decoder_architecture`): parallel, a LayerNorm for each of attention and
MLP or one for both, grouped k and v. Falcon-7B: parallel, one LayerNorm, one k and v. Falcon-RW:
sequential.
"""

from typing import Any

from edgewise.models.family import Family


def _parallel(config: Any) -> bool:
    return config.new_decoder_architecture or config.parallel_attn


def _kv_heads(config: Any) -> int:
    if config.new_decoder_architecture:
        return config.num_kv_heads
    return 1 if config.multi_query else config.num_attention_heads


def _two_norms(config: Any) -> bool:
    return config.new_decoder_architecture and config.num_ln_in_parallel_attn != 1


def _mlp_norm(config: Any) -> str:
    if _two_norms(config):
        return "ln_mlp"
    return "input_layernorm" if _parallel(config) else "post_attention_layernorm"


FAMILY = Family(
    model_type="falcon",
    layers="h",
    final_norm="ln_f",
    attention="self_attention",
    mlp="mlp",
    mlp_out="mlp.dense_4h_to_h",
    out="dense",
    qkv=("query_key_value",),
    layout=lambda config: (
        "concat" if config.multi_query and not config.new_decoder_architecture else "grouped"
    ),
    attention_norm=lambda config: "ln_attn" if _two_norms(config) else "input_layernorm",
    mlp_norm=_mlp_norm,
    parallel=_parallel,
    kv_heads=_kv_heads,
    handled=frozenset(
        """
        new_decoder_architecture parallel_attn multi_query num_kv_heads num_ln_in_parallel_attn
        alibi bias ffn_hidden_size activation
        """.split()
    ),
)
