"""The Hugging Face model itself as a circuit, for the length of a block."""

import pytest
import torch
from torch import Tensor

import edgewise
import tiny
import toy
from edgewise.ablation import Means
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, DataError, GraphError
from edgewise.models.model import Model

KINDS = ("interchange", "mean", "zero")


def some(model: Model) -> Circuit:
    """Half of the edges: enough for logits that depend on the prompt."""
    return Circuit.random(model.graph, model.graph.n_edges // 2, seed=4)


def settings(model: Model, kind: str, given: tiny.Prompts) -> dict:
    found = {"ablation": kind}
    if kind == "interchange":
        found["counterfactual_ids"] = given.corrupted
    if kind == "mean":
        found["reference"] = tiny.reference(model)
    return found


def logits(model: Model, given: tiny.Prompts) -> Tensor:
    mask = None if given.mask is None else given.mask.long()
    return model.hf(input_ids=given.clean, attention_mask=mask).logits


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm"])
def test_logits_are_those_of_run(name, kind, padding):
    model, given = tiny.model(name), tiny.prompts(padding)
    circuit, how = some(model), settings(model, kind, given)
    expected = edgewise.run(model, given.clean, circuit, attention_mask=given.mask, **how)
    with edgewise.applied(model, circuit, **how) as hf:
        assert hf is model.hf
        found = logits(model, given)
    assert torch.equal(found, expected)
    assert tiny.relative(found[given.kept], logits(model, given)[given.kept]) > 1e-2


def test_all_edges_are_the_model():
    model, given = tiny.model("llama-gqa"), tiny.prompts("right")
    expected = logits(model, given)
    with edgewise.applied(model, None, ablation="zero"):
        found = logits(model, given)
    assert tiny.relative(found[given.kept], expected[given.kept]) < 1e-5


def test_outputs_are_the_usual_ones():
    model, given = tiny.model("gpt2"), tiny.prompts()
    with edgewise.applied(model, some(model), ablation="zero") as hf:
        found = hf(given.clean, use_cache=True)
        assert found.past_key_values is None
        (as_tuple,) = hf(given.clean, return_dict=False)
    assert torch.equal(found[0], found.logits)
    assert torch.equal(as_tuple, found.logits)


# Afterwards


def state(model: Model) -> dict:
    return {name: value for name, value in vars(model.hf).items() if callable(value)}


def test_the_model_is_as_it_was():
    model, given = tiny.model("gpt2"), tiny.prompts()
    before, plain = state(model), logits(model, given)
    with edgewise.applied(model, some(model), ablation="zero"):
        assert state(model) != before
        with edgewise.applied(model, Circuit.empty(model.graph), ablation="zero"):
            inner = logits(model, given)
        outer = logits(model, given)
    assert not torch.equal(inner, outer)
    assert state(model) == before
    assert torch.equal(logits(model, given), plain)

    def fails():
        with edgewise.applied(model, some(model), ablation="zero"):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert state(model) == before


def test_a_forward_of_the_instance_comes_back():
    """Which accelerate, for one, puts there."""
    model, given = toy.fresh(), tiny.prompts()
    own = model.hf.forward
    model.hf.forward = lambda *args, **kwargs: own(*args, **kwargs)
    put = vars(model.hf)["forward"]
    with edgewise.applied(model, None, ablation="zero"):
        found = logits(model, given)
    assert vars(model.hf)["forward"] is put
    assert tiny.relative(found, logits(model, given)) < 1e-5


# Generating


def greedy(
    model: Model, given: tiny.Prompts, steps: int, circuit: Circuit, **how: object
) -> Tensor:
    """One token after another, each by a run of all there is."""
    ids, mask = given.clean, given.mask
    for _ in range(steps):
        found = edgewise.run(model, ids, circuit, attention_mask=mask, **how)[:, -1]
        ids = torch.cat([ids, found.argmax(-1)[:, None]], 1)
        if mask is not None:
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids


def generate(model: Model, given: tiny.Prompts, steps: int, **more: object) -> Tensor:
    mask = torch.ones_like(given.clean) if given.mask is None else given.mask.long()
    how = {"do_sample": False, "min_new_tokens": steps, "max_new_tokens": steps, "pad_token_id": 0}
    return model.hf.generate(given.clean, attention_mask=mask, **how, **more)


@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize(("name", "padding"), [("gpt2", "none"), ("llama-gqa", "left")])
def test_generating_is_a_loop_of_runs(name, padding, kind):
    model, given, circuit = tiny.model(name), tiny.prompts(padding), some(tiny.model(name))
    how = {"ablation": kind}
    if kind == "mean":
        how["reference"] = tiny.reference(model, per_position=False)
    expected = greedy(model, given, 6, circuit, **how)
    with edgewise.applied(model, circuit, **how):
        found = [generate(model, given, 6, **more) for more in ({}, {"use_cache": True})]
    plain = generate(model, given, 6)
    for one in found:
        assert torch.equal(one, expected)
    assert not torch.equal(plain, expected)


@pytest.mark.parametrize("more", [{}, {"num_beams": 3}])
def test_all_edges_generate_what_the_model_does(more):
    model, given = tiny.model("llama-gqa"), tiny.prompts("left")
    expected = generate(model, given, 6, **more)
    with edgewise.applied(model, None, ablation="zero"):
        assert torch.equal(generate(model, given, 6, **more), expected)


def test_interchange_generates_no_further_than_its_prompts():
    model, given = tiny.model("llama-gqa"), tiny.prompts()
    circuit, how = some(model), {"counterfactual_ids": given.corrupted}
    with edgewise.applied(model, circuit, **how):
        assert torch.equal(generate(model, given, 1), greedy(model, given, 1, circuit, **how))
        with pytest.raises(DataError, match=r"are \(3, 5\), these \(3, 6\)\. To generate"):
            generate(model, given, 2)


def test_per_position_means_end_where_they_end():
    model, given = tiny.model("llama-gqa"), tiny.prompts()
    reference: Means = tiny.reference(model)
    with (
        edgewise.applied(model, some(model), ablation="mean", reference=reference),
        pytest.raises(DataError, match="per_position=False"),
    ):
        generate(model, given, 3)


def test_learned_positions_are_not_shifted():
    model = tiny.model("gpt2")
    with (
        edgewise.applied(model, some(model), ablation="zero"),
        pytest.raises(ConfigError, match="gpt2 has learned positions, and padding on the left"),
    ):
        generate(model, tiny.prompts("left"), 1)


# Refused


def test_what_an_ablation_lacks_is_said_at_the_start():
    model = tiny.model("gpt2")
    for how, said in (
        ({}, "needs counterfactual_ids"),
        ({"ablation": "mean"}, "needs reference means"),
    ):
        with pytest.raises(ConfigError, match=said), edgewise.applied(model, None, **how):
            pytest.fail("the block was entered")
    other = Circuit.empty(tiny.model("llama-gqa").graph)
    with pytest.raises(GraphError), edgewise.applied(model, other, ablation="zero"):
        pytest.fail("the block was entered")
    how = {"ablation": "zero", "counterfactual_ids": tiny.prompts().corrupted[:1]}
    block = edgewise.applied(model, None, **how)
    with pytest.warns(UserWarning, match="counterfactual_ids have no effect on zero ablation"):
        block.__enter__()
    logits(model, tiny.prompts())
    block.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": torch.zeros(3, 5, dtype=torch.long)}, "not labels"),
        ({"position_ids": torch.arange(5)[None]}, "not position_ids"),
        ({"output_attentions": True}, "not output_attentions"),
    ],
)
def test_what_a_masked_run_has_no_place_for_is_refused(given, said):
    model = tiny.model("gpt2")
    with edgewise.applied(model, None, ablation="zero") as hf:
        with pytest.raises(ConfigError, match=said):
            hf(tiny.prompts().clean, **given)
        with pytest.raises(ConfigError, match="needs input_ids"):
            hf()
        hf(tiny.prompts().clean, output_attentions=False, labels=None)
