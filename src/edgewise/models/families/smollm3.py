"""SmolLM 3: Llama's blocks, some of which have no rotary angles."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="smollm3",
    handled=frozenset(
        """
        no_rope_layers no_rope_layer_interval use_sliding_window sliding_window layer_types
        max_window_layers
        """.split()
    ),
)
