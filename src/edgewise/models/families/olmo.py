"""OLMo: Llama's blocks with LayerNorms that have neither gain nor bias."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="olmo",
    norm_eps=1e-5,
    overwrites=True,  # with clip_qkv
    handled=frozenset({"clip_qkv"}),
)
