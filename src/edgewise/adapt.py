"""`adapt`: take a loaded `transformers` model as it is, and prove that it was read rightly.

The proof runs a small random batch, padded and with unequal prompts, through the masked forward pass with
every edge kept. Equation (1) then says that the logits are the model's own; if they are not, within
rounding, the model is refused.
"""

from typing import Any

import torch
from torch import nn

from edgewise.errors import ModelError
from edgewise.graph import Embeddings
from edgewise.models.family import family_of
from edgewise.models.model import Model, build
from edgewise.stream import run

QUANTISED = "quantization_config"


def adapt(
    hf_model: nn.Module,
    tokenizer: Any = None,
    *,
    name: str | None = None,
    embeddings: Embeddings = "joint",
    check: bool = True,
) -> Model:
    """A `Model` over `hf_model`, which is put in eval mode and frozen, and otherwise left untouched.

    embeddings   "joint", "split" (tok and pos) or "free" (never masked); see `Graph`
    check        prove identity on a small batch (two forward passes)

    Raises ModelError for an unknown type, a setting that isn't handled, quantised weights, or logits that
    differ from the model's own.
    """
    config = getattr(hf_model, "config", None)
    if config is None or not hasattr(hf_model, "get_output_embeddings"):
        raise ModelError(f"adapt takes a transformers causal language model, not {type(hf_model)}")
    if getattr(config, QUANTISED, None) is not None:
        raise ModelError(
            f"{config.model_type}: its weights are quantised ({QUANTISED}); load it without "
            "quantisation, or from a .gguf file, which edgewise de-quantises"
        )
    family = family_of(config)
    hf_model.eval().requires_grad_(False)
    model = build(
        hf_model, tokenizer, name or config._name_or_path or family.model_type, family, embeddings
    )
    if check:
        prove_identity(model)
    return model


def identity_error(model: Model, seed: int = 0) -> float:
    """Largest difference between the all-ones masked logits and the model's own, over the largest logit."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.vocab_size, (2, 6), generator=generator).to(model.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 4:] = False
    other = torch.randint(0, model.config.vocab_size, (2, 6), generator=generator).to(model.device)
    with torch.no_grad():
        own = model.hf(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[mask]
        ours = run(model, ids, None, counterfactual_ids=other, attention_mask=mask)[mask]
    return ((ours - own).abs().max() / own.abs().max()).item()


def prove_identity(model: Model) -> None:
    """Raise ModelError unless all edges kept give the model's own logits, within its dtype's rounding."""
    bound = 5e-2 if model.dtype in (torch.bfloat16, torch.float16) else 1e-4
    error = identity_error(model)
    if not error <= bound:
        raise ModelError(
            f"{model.name}: read as {model.family.model_type!r}, its logits with every edge kept differ "
            f"from its own by {error:.2g} of the largest (allowed {bound:.0e}); it isn't what its "
            "model_type says, or edgewise lacks a setting of it"
        )
