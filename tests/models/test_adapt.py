"""`adapt`: what it proves, what it refuses, and that the user's model stays as it was."""

import sys
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, LlamaConfig, MambaConfig

import oracle
import tiny
from edgewise.ablation import means
from edgewise.adapt import adapt, identity_error
from edgewise.errors import ModelError
from edgewise.models import family as families
from edgewise.models.families.llama import FAMILY as LLAMA
from edgewise.models.family import family_of, known_families
from edgewise.stream import run
from unchecked import unchecked

each_model = pytest.mark.parametrize("name", tiny.MODELS)


# What it proves


@each_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tiny_models_are_adapted(name: str, dtype: torch.dtype) -> None:
    """In bfloat16 the roundings of one batch say little: of some models every tenth is over 5%."""
    model = adapt(tiny.MODELS[name][1]().to(dtype))
    assert model.dtype == dtype
    assert model.name == model.config.model_type
    errors = [identity_error(model, seed) for seed in range(5)]
    if dtype == torch.float32:
        assert max(errors) < 1e-5
    else:
        assert median(errors) < 4e-2


def test_what_is_told_apart() -> None:
    tokenizer = object()
    with unchecked():
        model = adapt(tiny.gpt2(), tokenizer, name="mine", embeddings="split")
    assert (model.name, model.tokenizer) == ("mine", tokenizer)
    assert model.graph.writers[:3] == ("tok", "pos", "a0.h0")
    assert model.width == 15
    assert model.device == torch.device("cpu")
    assert not model.graph.coupled


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gpt2", {"attention_norm": "ln_2"}),
        ("llama-gqa", {"mlp_norm": None}),
        ("gpt2", {"parallel": True}),
        ("llama-gqa", {"norm_offset": 1.0}),
        ("llama-gqa", {"attention_post_norm": "post_attention_layernorm"}),
        ("parallel", {"parallel": False}),
        ("post-norm", {"norm_offset": 0.0}),
        ("post-norm", {"attention_post_norm": None}),
        ("post-norm", {"mlp_post_norm": None}),
        ("post-norm-only", {"attention_norm": "post_attention_layernorm"}),
        ("multiplier", {"residual_multiplier": None}),
    ],
    ids=str,
)
def test_a_model_that_is_read_wrongly_is_refused(
    name: str, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, make = tiny.MODELS[name]
    hf = make()
    assert identity_error(adapt(hf)) < 1e-5
    module = sys.modules[adapt.__module__]  # which `edgewise.adapt`, the function, hides
    monkeypatch.setattr(module, "family_of", lambda _: replace(family, **wrong))
    with pytest.raises(ModelError, match=r"logits with every edge kept differ .* by") as caught:
        adapt(hf)
    assert repr(family.model_type) in str(caught.value)
    adapt(hf, check=False)


def test_norms_that_differ_in_kind_are_refused() -> None:
    hf = tiny.gpt2()
    hf.transformer.h[1].ln_2 = torch.nn.RMSNorm(hf.config.n_embd)
    with pytest.raises(ModelError, match="some of its parts read through a LayerNorm and others"):
        adapt(hf)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)], ids=str)
def test_readers_in_the_wrong_order_are_refused(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every projection has the same shape, and with every edge kept nothing differs."""
    hf = tiny.llama(num_key_value_heads=6)
    wrong = replace(LLAMA, qkv=tuple(LLAMA.qkv[place] for place in order))
    monkeypatch.setattr(sys.modules[adapt.__module__], "family_of", lambda _: wrong)
    assert identity_error(adapt(hf, check=False)) < 1e-5
    with pytest.raises(ModelError, match=r"the rows of a0\.h0<.> do not act as its own"):
        adapt(hf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinity")])
def test_the_first_weight_that_is_not_finite_is_named(
    dtype: torch.dtype, value: float, what: str
) -> None:
    hf = tiny.gpt2().to(dtype)
    for layer in (1, 0):
        hf.transformer.h[layer].mlp.c_fc.weight.data[0, 0] = value
    with pytest.raises(ModelError, match=rf"gpt2: transformer\.h\.0\.mlp\.c_fc\.\w+ holds {what}:"):
        adapt(hf)
    hf.config.model_type = "gpt2_by_another_name"
    with pytest.raises(ModelError, match=rf"name: transformer\.h\.0\..* holds {what}:"):
        adapt(hf)


def test_a_buffer_that_is_not_a_number_is_named() -> None:
    hf = tiny.llama()
    hf.model.rotary_emb.inv_freq[0] = torch.nan
    with pytest.raises(ModelError, match=r"llama: model\.rotary_emb\.inv_freq holds NaN:"):
        adapt(hf)


@pytest.mark.parametrize(
    ("dtype", "wider"), [(torch.float16, "bfloat16 or float32"), (torch.bfloat16, "float64")]
)
def test_activations_that_overflow(dtype: torch.dtype, wider: str) -> None:
    hf = tiny.llama().to(dtype)
    hf.lm_head.weight.data.fill_(torch.finfo(dtype).max)
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ModelError, match=rf"its weights are: .* too large for {kind}; try {wider}"):
        adapt(hf)


def test_a_misread_model_is_not_blamed_for_what_is_infinite_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only its own logits tell that a model is broken."""
    module = sys.modules["edgewise.proof"]
    monkeypatch.setattr(module, "_logits_error", lambda *_: float("nan"))
    hf = tiny.llama()
    hf.register_buffer("mask", torch.full((2, 2), -torch.inf))
    adapt(hf)  # its blocks decide


# What it refuses


def test_what_is_no_language_model() -> None:
    for given in (nn.Linear(2, 2), "gpt2"):
        with unchecked(), pytest.raises(ModelError, match="takes a transformers causal language"):
            adapt(given)


def test_an_unknown_type_is_named_with_those_known() -> None:
    with pytest.raises(ModelError, match=r"no family for model_type 'mamba'.*gpt2, .*llama"):
        family_of(MambaConfig(num_hidden_layers=1))
    assert {"gpt2", "llama"} <= set(known_families())


@pytest.mark.parametrize("kind", ["family", "../gpt2", "os", "", "gpt2.FAMILY"])
def test_a_type_that_is_no_file_of_a_family(kind: str) -> None:
    config = LlamaConfig(num_hidden_layers=1)
    config.model_type = kind
    with pytest.raises(ModelError, match="no family for model_type"):
        family_of(config)


def test_an_unhandled_setting_is_named() -> None:
    config = GPT2Config(add_cross_attention=True)
    with pytest.raises(ModelError, match=r"add_cross_attention=True \(default False\)"):
        family_of(config)


def test_settings_at_their_default_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever isn't named is refused only when it differs from its default."""
    monkeypatch.setattr(families, "HANDLED", frozenset())
    family = replace(LLAMA, handled=frozenset({"num_hidden_layers"}))
    families.refuse_unhandled(LlamaConfig(num_hidden_layers=3), family)
    odd = LlamaConfig(num_hidden_layers=3, rms_norm_eps=0.5, vocab_size=7)
    with pytest.raises(ModelError, match=r"rms_norm_eps=0\.5 \(default 1e-06\), vocab_size=7"):
        families.refuse_unhandled(odd, family)


def test_quantised_weights() -> None:
    hf = tiny.gpt2()
    hf.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(ModelError, match="quantised"):
        adapt(hf)


def test_positions_that_are_not_learned_can_not_be_split_off() -> None:
    with pytest.raises(ModelError, match="use embeddings='joint' or 'free'"):
        adapt(tiny.llama(), embeddings="split")


# The user's model


def outside(hf: nn.Module) -> dict[str, object]:
    """All that a user could notice, but for eval mode and requires_grad."""
    found: dict[str, object] = {"class": type(hf), "config": hf.config.to_dict()}
    for name, module in hf.named_modules(remove_duplicate=False):
        found[f"{name} is"] = (id(module), type(module), tuple(module._modules))
        attributes = {k: v for k, v in vars(module).items() if k not in ("training", "_modules")}
        found[f"{name} has"] = {
            key: dict(value) if isinstance(value, dict) else value
            for key, value in attributes.items()
            if key not in ("_parameters", "_buffers")
        }
    for name, tensor in [*hf.named_parameters(), *hf.named_buffers()]:
        found[f"{name} at"] = (id(tensor), tensor._version, tensor.data_ptr(), tensor.sum().item())
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm", "parallel"])
def test_the_model_is_as_it_was(name: str) -> None:
    hf = tiny.MODELS[name][1]()
    given = tiny.prompts("right")
    logits = oracle.forward(hf, given.clean, given.mask)
    before = outside(hf)
    model = adapt(hf)
    mask = tiny.random_mask(model).requires_grad_()
    for kind in ("interchange", "mean", "zero"):
        ablated, _ = tiny.ablated(model, kind, given, with_oracle=False)
        tiny.engine_logits(model, mask, given, ablated, live=True).sum().backward()
    run(model, given.clean, counterfactual_ids=given.corrupted)
    means(model, [(given.clean, None)])
    after = outside(hf)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key] == value, key
    assert model.hf is hf
    assert torch.equal(oracle.forward(hf, given.clean, given.mask), logits)


def test_only_eval_mode_and_requires_grad_are_set() -> None:
    hf = tiny.llama().train()
    hf.requires_grad_(True)
    adapt(hf)
    assert not any(module.training for module in hf.modules())
    assert not any(parameter.requires_grad for parameter in hf.parameters())


def test_generation_and_training_still_work() -> None:
    hf = tiny.llama()
    ids = tiny.prompts().clean
    expected = hf.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    model = adapt(hf)
    run(model, ids, counterfactual_ids=ids)
    assert torch.equal(
        hf.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0), expected
    )
    hf.requires_grad_(True)
    hf(ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in hf.parameters())


def test_hooks_on_blocks_and_attention_are_not_called() -> None:
    """They run as shadows, which leave a user's hooks behind."""
    hf = tiny.gpt2()
    calls: list[str] = []
    for name in ("h.0", "h.0.attn", ""):
        hf.transformer.get_submodule(name).register_forward_hook(
            lambda *_, name=name: calls.append(name)
        )
    given = tiny.prompts()
    run(adapt(hf, check=False), given.clean, counterfactual_ids=given.corrupted)
    assert calls == []
    oracle.forward(hf, given.clean, None)
    assert calls == ["h.0.attn", "h.0", ""]
