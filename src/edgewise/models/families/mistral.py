"""Mistral: Llama's blocks, attending to a window if its config says so."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="mistral",
    handled=frozenset({"sliding_window"}),
)
