"""`adapt`: take a loaded `transformers` model as it is, and prove that it was read rightly.

A model is read by the family of its `model_type`. If its type has no family, every known layout
that it has the parts of is tried, and the first that the proof bears out is kept.
"""

import warnings
from dataclasses import replace
from typing import Any

from torch import nn

from edgewise.errors import ModelError
from edgewise.graph import Embeddings
from edgewise.models.family import Family, family_named, family_of, known_families
from edgewise.models.model import Model, build
from edgewise.proof import check_weights, identity_error, prove, prove_layout

__all__ = ["adapt", "identity_error"]

QUANTISED = "quantization_config"
COMMON = ("llama", "gpt2", "gpt_neox")  # layouts to try first
# What a model raises that is run by a layout that isn't its own.
WRONG = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def adapt(
    hf_model: nn.Module,
    tokenizer: Any = None,
    *,
    name: str | None = None,
    embeddings: Embeddings = "joint",
    check: bool = True,
) -> Model:
    """A `Model` over `hf_model`, which is put in eval mode and frozen, and otherwise left as it is.

    embeddings   "joint", "split" (tok and pos) or "free" (never masked); see `Graph`
    check        prove identity and the order of readers on a small batch (`edgewise.proof`);
                 always done for a model whose type has no family

    Raises ModelError for a setting that isn't handled, quantised weights, weights or logits that
    aren't finite, logits that differ from the model's own, queries, keys and values that change
    places, and an unknown type that no known layout fits.
    """
    config = getattr(hf_model, "config", None)
    if config is None or not hasattr(hf_model, "get_output_embeddings"):
        raise ModelError(f"adapt takes a transformers causal language model, not {type(hf_model)}")
    if hf_model.get_output_embeddings() is None:
        raise ModelError(
            f"{type(hf_model).__name__} has no language model head: "
            "load it with AutoModelForCausalLM, not AutoModel"
        )
    if getattr(config, QUANTISED, None) is not None:
        raise ModelError(
            f"{config.model_type}: its weights are quantised ({QUANTISED}); load it without "
            "quantisation, or call its dequantize(); .gguf files are de-quantised on load"
        )
    known = config.model_type in known_families()
    family = family_of(config) if known else None
    hf_model.eval().requires_grad_(False)
    name = name or config._name_or_path or config.model_type
    if family is None:
        return _tried(hf_model, tokenizer, name, embeddings)
    model = build(hf_model, tokenizer, name, family, embeddings)
    if check:
        prove(model)
        prove_layout(model)
    return model


def layouts() -> list[Family]:
    """The known families that differ in more than settings, common ones first.

    Each also with queries or keys that are normalised over all heads, which no identity shows; at
    the end all of them for MLPs that end in another projection or in none.
    """
    order = sorted(known_families(), key=lambda name: (name not in COMMON, name))
    plain: list[Family] = []
    bare: list[Family] = []
    for family in map(family_named, order):
        only = replace(family, model_type="", mlp_out=None, handled=frozenset(), refused={})
        if only not in bare:
            bare.append(only)
            plain.append(family)
    plain += [replace(f, joint_qk_norm=True) for f in plain if f.joint_qk_norm is False]
    return plain + [replace(f, mlp_out=None) for f in plain if f.mlp_out is not None]


def _tried(hf_model: nn.Module, tokenizer: Any, name: str, embeddings: Embeddings) -> Model:
    """The model read by the first known layout that the proof bears out."""
    kind = hf_model.config.model_type
    close = []
    for family in layouts():
        try:
            model = build(hf_model, tokenizer, name, family, embeddings)
        except (ModelError, AttributeError, TypeError):
            continue  # it lacks a part or a setting
        try:
            proof = prove(model)
            prove_layout(model)
        except ModelError as error:
            close.append(str(error))
        except WRONG as error:
            close.append(f"{family.model_type!r}: {error}")
        else:
            warnings.warn(
                f"{name}: model_type {kind!r} has no family of its own; read as "
                f"{family.model_type!r}, which the proof bears out ({proof})",
                stacklevel=3,
            )
            return model
    check_weights(hf_model, name)
    found = "".join(f"\n    {reason}" for reason in close[:3])
    raise ModelError(
        f"{name}: no family for model_type {kind!r}, and no known layout fits; there are: "
        f"{', '.join(known_families())}. CONTRIBUTING.md tells how to add one{found}"
    )
