"""Every family, with its options on and off, through every proof: `zoo.TABLE` has the models."""

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import oracle
import proofs
import tiny
import zoo
from edgewise import proof
from edgewise.adapt import adapt, layouts
from edgewise.errors import ModelError
from edgewise.models.family import family_named, family_of, known_families
from edgewise.models.model import build
from edgewise.proof import Proof, prove, prove_layout

# The families that the README promises.
ASKED = """
gpt2 gpt_neo gpt_neox gptj gpt_bigcode opt bloom mpt falcon llama mistral mixtral qwen2 qwen2_moe
qwen3 qwen3_moe gemma gemma2 gemma3_text phi phi3 olmo olmo2 stablelm starcoder2 cohere granite
smollm3 gpt_oss tracr
""".split()
# Where the first token has more than itself to attend to: a sink, or the tokens after it.
SINKS = [name for name in zoo.TABLE if name.startswith("gpt_oss") or name == "tracr"]
CLIPPED = [name for name in zoo.TABLE if "clipped" in name]

each_model = pytest.mark.parametrize("name", zoo.TABLE)
each_family = pytest.mark.parametrize("kind", ASKED)


def test_the_table_has_every_family() -> None:
    assert len(zoo.TABLE) >= 60
    assert sorted(ASKED) == list(known_families())
    assert {name.split()[0] for name in zoo.TABLE} == set(ASKED)


@each_family
def test_a_family_s_file_is_named_by_its_type(kind: str) -> None:
    assert family_named(kind).model_type == kind


# The proofs


@each_model
def test_identity(name: str) -> None:
    for side in ("none", "right", "left"):
        assert proofs.identity(zoo.model(name), tiny.prompts(side)) < 1e-5


@each_model
def test_annihilation(name: str) -> None:
    for side in ("right", "left"):
        assert proofs.annihilation(zoo.model(name), tiny.prompts(side)) < 1e-5


@each_model
def test_padding_changes_nothing(name: str) -> None:
    for side in ("right", "left"):
        assert proofs.padding(zoo.model(name), side, cut="longrope" not in name) < 1e-5


@each_model
def test_writes_add_up_to_the_stream(name: str) -> None:
    model, given = zoo.model(name), tiny.prompts("right")
    assert proofs.decomposition(model, given) < 1e-5
    assert proofs.sum_of_writes(model, given) < 1e-5


@each_model
def test_values_and_gradients_are_the_oracle_s(name: str) -> None:
    """In float32, whose roundings a gradient's smallest entries feel most."""
    model = zoo.model(name)
    mask = tiny.random_mask(model)
    for kind, side in (("interchange", "right"), ("mean", "none"), ("zero", "left")):
        value, gradient = proofs.value_and_gradient(model, mask, tiny.prompts(side), kind)
        assert value < 1e-5
        assert gradient < 2e-3


@each_model
def test_leaving_out_dead_parts_changes_no_value(name: str) -> None:
    model = zoo.model(name)
    for seed, density in enumerate((0.03, 0.12, 0.4)):
        kept = torch.rand(
            model.graph.n_readers,
            model.graph.n_writers,
            generator=torch.Generator().manual_seed(seed),
        )
        mask = torch.where(kept < density, tiny.random_mask(model, seed), 0.0)
        assert proofs.value(model, mask, tiny.prompts("right"), "interchange", live=True) < 1e-5


@each_model
def test_each_reader_has_its_own_rows(name: str) -> None:
    model = zoo.model(name)
    proofs.check_layout(model, tiny.prompts(), sinks=name in SINKS, clipped=name in CLIPPED)
    if name not in CLIPPED:
        prove_layout(model)
        prove_layout(zoo.model(name, dtype=torch.bfloat16))


@each_model
def test_bfloat16_within_its_rounding(name: str) -> None:
    half = zoo.model(name, dtype=torch.bfloat16)
    whole = build(zoo.hugging_face(name).bfloat16().float(), None, name, half.family, "joint")
    error, own, cosine = proofs.sixteen_bits(half, whole, tiny.prompts("right"))
    assert error < max(0.03, 4 * own)
    assert cosine > 0.97
    found = prove(half)
    assert found.blocks < 1e-5
    assert found.ends < 1


@each_model
def test_adapted_with_proof(name: str) -> None:
    """As users do it; nothing warns, and learned positions can be split off."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = adapt(zoo.hugging_face(name))
    assert model.family.model_type == name.split()[0]
    assert prove(model).logits < 1e-5
    if model.family.setting("positions", model.config):
        split = zoo.model(name, "split")
        assert prove(split).logits < 1e-5
        mask = tiny.random_mask(split)
        assert proofs.value(split, mask, tiny.prompts("left"), "interchange") < 1e-5


# What is refused


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "opt": ({"do_layer_norm_before": False}, "norms rewrite the stream"),
    "bloom": ({"apply_residual_connection_post_layernorm": True}, "norms rewrite the stream"),
    "mpt": ({"attn_config": {"qk_ln": True}}, r"attn_config\.qk_ln=True .*transformers itself"),
    "gpt_bigcode": ({"add_cross_attention": True, "multi_query": False}, "no encoder"),
    "gemma": ({"use_bidirectional_attention": True}, "would read what comes after it"),
    "gemma2": ({"use_bidirectional_attention": True}, "would read what comes after it"),
    "gemma3_text": ({"attn_logit_softcapping": 9.0}, "transformers itself ignores it"),
    "gpt2": ({"add_cross_attention": True}, r"add_cross_attention=True \(default False\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_not_be_exact_is_refused_by_name(kind: str) -> None:
    settings, reason = REFUSED[kind]
    config = AutoConfig.for_model(kind, **settings)
    with pytest.raises(ModelError, match=reason):
        family_of(config)


@each_family
def test_reasons_are_given_for_settings_that_are_not_handled(kind: str) -> None:
    family = family_named(kind)
    assert not family.refused.keys() & family.handled


@each_family
def test_default_settings_are_handled(kind: str) -> None:
    """Also as they are saved: a hub's config.json has settings that depend on others."""
    config = zoo.config(kind)
    family_of(config)
    family_of(type(config)(**config.to_dict()))


def test_a_model_without_a_head() -> None:
    hf = AutoModel.from_config(zoo.hugging_face("llama gqa").config)
    with pytest.raises(ModelError, match="LlamaModel has no language model head"):
        adapt(hf)


# Misread models: a bound that lets them pass proves nothing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("llama gqa", {"norm_offset": 0.01}),
        ("gpt2", {"mlp_norm": "ln_1"}),
        ("gpt_neox", {"mlp_norm": "input_layernorm"}),
        ("falcon 40b", {"parallel": False}),
        ("granite", {"residual_multiplier": "attention_multiplier"}),
        ("gemma2", {"mlp_post_norm": "post_attention_layernorm"}),
        ("opt narrow-embedding", {"unproject": None}),
        ("bloom", {"mlp_adds_stream": False}),
        ("olmo", {"norm_eps": 0.01}),
    ],
    ids=str,
)
def test_a_misread_model_is_refused(name: str, wrong: dict[str, Any], dtype: torch.dtype) -> None:
    right = zoo.model(name, dtype=dtype)
    prove(right)
    misread = build(right.hf, None, "wrong", replace(right.family, **wrong), "joint")
    with pytest.raises((ModelError, RuntimeError, TypeError)):
        prove(misread)


# Types without a family


def stranger(kind: str, **settings: Any) -> nn.Module:
    given = tiny.SIZES | zoo.LLAMA | {"head_dim": 6} | settings
    return tiny.filled(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given)))


@pytest.mark.parametrize(
    ("kind", "read_as", "coupled"),
    [
        ("helium", "llama", False),
        ("seed_oss", "llama", False),
        ("cohere2", "cohere", False),
        ("nemotron", "gemma", False),
        ("olmo3", "olmo2", True),
        ("olmoe", "llama", True),
    ],
)
def test_an_unknown_type_with_a_known_layout(kind: str, read_as: str, coupled: bool) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"}
    hf = stranger(kind, **(experts if kind == "olmoe" else {}))
    with pytest.warns(UserWarning, match=f"{kind}.*read as '{read_as}', which the proof bears out"):
        model = adapt(hf)
    assert model.family.model_type == read_as
    assert model.graph.coupled == coupled
    assert (model.family.mlp_out is None) == (kind == "olmoe")
    given = tiny.prompts("right")
    assert proofs.decomposition(model, given) < 1e-5
    value, gradient = proofs.value_and_gradient(
        model, tiny.random_mask(model), given, "interchange"
    )
    assert value < 1e-5
    assert gradient < 2e-3
    proofs.check_layout(model, tiny.prompts())


@pytest.mark.parametrize("kind", ["diffllama", "glm4", "mamba", "xglm"])
def test_an_unknown_type_that_no_layout_fits(kind: str) -> None:
    """Among them one whose logits agree, but whose heads share what they read in another way."""
    sizes = {"num_layers": 2, "d_model": 24, "ffn_dim": 23, "attention_heads": 4}
    hf = stranger(kind, **(sizes if kind == "xglm" else {}))
    with pytest.raises(ModelError, match=f"no family for model_type '{kind}', and no known layout"):
        adapt(hf)


def test_rows_in_another_order_are_noticed() -> None:
    """GPT-NeoX with q, k and v one after the other: logits agree, whatever the order is called."""
    hf = zoo.hugging_face("gpt_neox")
    hf.config.model_type = "stranger"
    with pytest.warns(UserWarning, match="read as 'gpt_neox'"):
        assert adapt(hf).family.layout == "grouped"
    other = zoo.model("gpt_neox")
    wrong = build(other.hf, None, "wrong", replace(other.family, layout="concat"), "joint")
    assert prove(wrong).logits < 1e-5
    with pytest.raises(ModelError, match=r"the rows of a0\.h1<q> do not act as its own"):
        prove_layout(wrong)


def test_layouts_are_tried_once() -> None:
    names = [family.model_type for family in layouts()]
    tried = [(f.model_type, f.joint_qk_norm is True, f.mlp_out) for f in layouts()]
    assert len(tried) == len(set(tried))
    assert {"llama", "gpt2", "gpt_neox"} == set(names[:3])
    assert not {"mistral", "qwen3", "mixtral"} & set(names)


# The record of a proof


def test_a_proof_tells_what_it_found() -> None:
    assert str(prove(zoo.model("llama gqa"))).startswith("logits with every edge kept differ from")
    half = prove(zoo.model("llama gqa", dtype=torch.bfloat16))
    assert half.logits > 1e-3 > half.blocks
    assert "a block with every edge kept, in float32, differs" in str(half)
    assert not Proof(float("nan")).holds
    assert not Proof(0.1, float("nan"), 0.0).holds
    assert Proof(0.5, 1e-6, 0.0).holds
    assert not Proof(0.5, 1e-6, 9.0).holds


def test_a_float32_model_too_deep_for_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks decide."""
    model = zoo.model("llama gqa")
    monkeypatch.setattr(proof, "_logits_error", lambda *_: 0.5)
    found = prove(model)
    assert found.logits == 0.5
    assert max(found.blocks, found.ends) < 2
    wrong = build(model.hf, None, "wrong", replace(model.family, norm_offset=0.01), "joint")
    with pytest.raises(ModelError, match="a block with every edge kept"):
        prove(wrong)


def test_a_16_bit_model_that_gives_nan() -> None:
    hf = zoo.hugging_face("llama gqa").bfloat16()
    hf.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.weight holds NaN"):
        adapt(hf)


def test_proofs_leave_the_model_as_it_was() -> None:
    hf = zoo.hugging_face("gemma2").bfloat16()
    given = tiny.prompts("right")
    before = oracle.forward(hf, given.clean, given.mask)
    model = adapt(hf)
    prove_layout(model)
    assert not any(module._forward_pre_hooks for module in hf.modules())
    assert hf.dtype == torch.bfloat16
    assert torch.equal(oracle.forward(hf, given.clean, given.mask), before)
