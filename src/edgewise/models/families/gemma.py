"""Gemma: Llama's blocks, norms whose weight counts from 1, heads wider than the stream's share."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="gemma",
    norm_offset=1.0,
    refused={"use_bidirectional_attention": "a token would read what comes after it"},
)
