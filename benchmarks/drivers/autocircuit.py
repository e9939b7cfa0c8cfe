"""The like step of auto-circuit: subnetwork probing over all edges, hard-concrete masks.

Its own loop (`subnetwork_probing_prune_scores`, tree optimisation) with resampled ablations and
without the sparsity term, which costs next to nothing. Its gates are drawn for each prompt anew.
Left to itself it would also compute gradients of the weights, which are frozen here.
"""

import torch
from auto_circuit.utils.ablation_activations import src_ablations
from auto_circuit.utils.graph_utils import (
    mask_fn_mode,
    patch_mode,
    patchable_model,
    set_all_masks,
    train_mask_mode,
)
from measure import arguments, prompts, report
from torch.nn.functional import kl_div
from transformer_lens import HookedTransformer, HookedTransformerConfig

given = arguments(__doc__)
config = HookedTransformerConfig(
    n_layers=given.layers,
    d_model=768,
    n_heads=12,
    d_head=64,
    d_mlp=3072,
    n_ctx=1024,
    d_vocab=50257,
    act_fn="gelu_new",
    normalization_type="LN",
    use_attn_result=True,
    use_split_qkv_input=True,
    use_hook_mlp_in=True,
)
hooked = HookedTransformer(config).eval()
hooked.requires_grad_(False)
model = patchable_model(hooked, factorized=True, slice_output="last_seq", separate_qkv=True)
clean, corrupted = prompts(given.batch, given.tokens)
set_all_masks(model, 0.0)


def main() -> None:
    with train_mask_mode(model) as masks, mask_fn_mode(model, "hard_concrete"):
        optimiser = torch.optim.Adam(masks.values(), 0.01)

        def step() -> float:
            with torch.no_grad():
                full = model(clean)[model.out_slice].log_softmax(-1)
            with patch_mode(model, src_ablations(model, corrupted).clone()):
                circuit = model(clean)[model.out_slice].log_softmax(-1)
                loss = kl_div(circuit, full, reduction="batchmean", log_target=True)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            return loss.item()

        report(step, len(model.edges), given.repeats)


main()
