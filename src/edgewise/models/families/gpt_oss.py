"""gpt-oss: Llama's blocks with attention sinks, biases, windows, and mixtures of experts."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="gpt_oss",
    mlp_out=None,
    mlp_outputs=2,
    handled=frozenset(
        """
        sliding_window layer_types num_local_experts num_experts num_experts_per_tok
        swiglu_alpha swiglu_limit output_router_logits router_aux_loss_coef
        """.split()
    ),
)
