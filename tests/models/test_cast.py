"""A model in another dtype is the one that `transformers` would have loaded in it."""

import pytest
import torch

import tiny
import zoo
from edgewise.models.family import family_of, known_families
from edgewise.models.model import build, cast
from edgewise.stream import run

one_of_each = pytest.mark.parametrize("kind", known_families())


def first(kind: str) -> str:
    """The first name of a family in the table."""
    return next(name for name in zoo.TABLE if name.split()[0] == kind)


@one_of_each
def test_it_is_what_is_loaded_in_that_dtype(kind, tmp_path):
    """To the last bit of the logits: buffers that a family keeps in float32 are kept so."""
    whole = zoo.model(first(kind))
    half = cast(whole, torch.bfloat16)
    whole.hf.save_pretrained(tmp_path)
    settings = {"dtype": torch.bfloat16, "experts_implementation": "eager"}
    settings["attn_implementation"] = whole.config._attn_implementation
    loaded = type(whole.hf).from_pretrained(tmp_path, **settings).eval()
    for parameter in loaded.parameters():  # some releases keep some norms in float32
        parameter.data = parameter.data.to(torch.bfloat16)
    model = build(loaded, None, kind, family_of(loaded.config), "joint")
    given, mask = tiny.prompts("right"), tiny.random_mask(whole)
    prompts = {"counterfactual_ids": given.corrupted, "attention_mask": given.mask}
    logits = [run(m, given.clean, mask, **prompts) for m in (half, model)]
    assert logits[0].dtype == torch.bfloat16
    assert torch.equal(*logits)


def test_the_model_stays_as_it_was():
    model = tiny.model("llama-tied")
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    half = cast(model, torch.bfloat16)
    assert (model.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    for name, value in model.hf.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype
    assert (half.graph, half.name, half.tokenizer) == (model.graph, model.name, model.tokenizer)
    assert half.hf.lm_head.weight is half.hf.model.embed_tokens.weight  # still one tensor
    assert not any(parameter.requires_grad for parameter in half.hf.parameters())
    assert not half.hf.training


def test_the_same_dtype_is_the_same_model():
    model = tiny.model("gpt2")
    assert cast(model, torch.float32) is model


@pytest.mark.parametrize("embeddings", ["split", "free"])
def test_embeddings_stay_maskable_as_they_were(embeddings):
    half = cast(tiny.model("gpt2", embeddings), torch.bfloat16)
    assert half.graph.embeddings == embeddings
