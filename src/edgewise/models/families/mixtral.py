"""Mixtral: Llama's blocks with a mixture of experts, router included, as each block's MLP."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="mixtral",
    mlp_out=None,
    handled=frozenset(
        """
        sliding_window num_local_experts num_experts num_experts_per_tok
        output_router_logits router_aux_loss_coef router_jitter_noise
        """.split()
    ),
)
