"""Qwen 3 MoE: Qwen 3's blocks; MLPs are mixtures of experts, or plain."""

from dataclasses import replace

from edgewise.models.families.llama import FAMILY as LLAMA

FAMILY = replace(
    LLAMA,
    model_type="qwen3_moe",
    mlp_out=None,
    handled=frozenset(
        """
        use_sliding_window sliding_window max_window_layers layer_types
        decoder_sparse_step mlp_only_layers moe_intermediate_size num_experts num_local_experts
        num_experts_per_tok norm_topk_prob output_router_logits router_aux_loss_coef
        """.split()
    ),
)
