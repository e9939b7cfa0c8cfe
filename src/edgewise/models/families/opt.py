"""OPT: sequential blocks whose MLP has no module of its own; learned positions."""

from typing import Any

from edgewise.models.family import Family


def _projects(config: Any) -> bool:
    """Whether embeddings are narrower than the stream."""
    return config.word_embed_proj_dim != config.hidden_size


FAMILY = Family(
    model_type="opt",
    base="decoder",
    layers="layers",
    final_norm="final_layer_norm",
    unproject=lambda config: "project_out" if _projects(config) else None,
    attention="self_attn",
    mlp=("fc1", "activation_fn", "fc2"),
    mlp_out="fc2",
    out="out_proj",
    qkv=("q_proj", "k_proj", "v_proj"),
    attention_norm="self_attn_layer_norm",
    mlp_norm="final_layer_norm",
    positions=lambda config: not _projects(config),
    handled=frozenset(
        "ffn_dim enable_bias layer_norm_elementwise_affine word_embed_proj_dim".split()
    ),
    refused={
        "do_layer_norm_before": "norms rewrite the stream: no sum of writes",
        "_remove_final_layer_norm": "the logits have no norm that they read through",
    },
)
