"""The masked forward pass and its gradient, against the oracle, finite differences and itself."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

import oracle
import proofs
import tiny
from edgewise.models.model import Model, build
from edgewise.ops import slices

PADDINGS = ("none", "right", "left")
KINDS = ("interchange", "mean", "zero")


def embeddings_of(name: str) -> tuple[str, ...]:
    return ("joint", "split", "free") if name.startswith("gpt2") else ("joint", "free")


CASES = [(name, e) for name in tiny.MODELS for e in embeddings_of(name)]
FLOAT64 = [case for case in CASES if case[0] not in tiny.FLOAT32_ONLY]
each_model = pytest.mark.parametrize("name", tiny.MODELS)
each_case = pytest.mark.parametrize(("name", "embeddings"), CASES)
each_padding = pytest.mark.parametrize("padding", PADDINGS)
each_kind = pytest.mark.parametrize("kind", KINDS)


def full_mask(model: Model) -> Tensor:
    return torch.from_numpy(model.graph.causal.copy()).to(model.dtype)


def sparse_mask(model: Model, density: float, seed: int) -> Tensor:
    """Random fractions on a few edges; most parts are dead. A free input stays read by all."""
    z = tiny.random_mask(model, seed)
    kept = torch.rand(z.shape, generator=torch.Generator().manual_seed(seed + 99)) < density
    return torch.where(kept | torch.from_numpy(model.graph.causal & ~model.graph.valid), z, 0.0)


# The whole model and the whole corrupted run


@each_model
@each_padding
def test_the_oracle_takes_the_model_apart(name: str, padding: str) -> None:
    assert proofs.decomposition(tiny.model(name), tiny.prompts(padding)) < 5e-6


@each_case
@each_padding
def test_all_ones_are_the_model(name: str, embeddings: str, padding: str) -> None:
    model = tiny.model(name, embeddings)
    for kind in KINDS:
        assert proofs.identity(model, tiny.prompts(padding), kind) < 1e-5


@pytest.mark.parametrize(("name", "embeddings"), [case for case in CASES if case[1] != "free"])
@each_padding
def test_all_zeros_are_the_corrupted_run(name: str, embeddings: str, padding: str) -> None:
    assert proofs.annihilation(tiny.model(name, embeddings), tiny.prompts(padding)) < 1e-5


@each_case
def test_writes_add_up_to_the_stream_at_every_reader(name: str, embeddings: str) -> None:
    assert proofs.sum_of_writes(tiny.model(name, embeddings), tiny.prompts("right")) < 5e-6


@each_model
def test_each_reader_has_its_own_rows(name: str) -> None:
    proofs.check_layout(tiny.model(name), tiny.prompts())


def test_rows_that_change_places_are_noticed() -> None:
    """The identity holds however the rows of a fused projection are named: only this tells."""
    family, make = tiny.MODELS["parallel"]
    model = build(make(), None, "wrong", replace(family, layout="concat"), "joint")
    assert proofs.identity(model, tiny.prompts()) < 1e-5
    with pytest.raises(AssertionError, match="layer 0, q 1 changes other heads"):
        proofs.check_layout(model, tiny.prompts())


# Fractional masks


@pytest.mark.parametrize(
    ("name", "embeddings", "kind", "padding"),
    [
        (*case, kind, padding)
        for i, (case, kind) in enumerate(product(FLOAT64, KINDS))
        for padding in [PADDINGS[(i + i // 3) % 3]]
        # transformers' eager softmax is in float32, where float64's lowest number is -inf
        if padding != "left" or case[0] not in ("llama-gqa-eager", "post-norm")
    ],
)
def test_values_and_gradients_are_the_oracle_s(
    name: str, embeddings: str, kind: str, padding: str
) -> None:
    """In float64, where only some of the models' own norms and attention round to float32."""
    model = tiny.model(name, embeddings, torch.float64)
    mask = tiny.random_mask(model)
    value, gradient = proofs.value_and_gradient(model, mask, tiny.prompts(padding), kind)
    exact = name in tiny.EXACT
    assert value < (1e-12 if exact else 2e-6)
    assert gradient < (1e-10 if exact else 1e-3)


@each_model
@each_kind
def test_values_and_gradients_in_float32(name: str, kind: str) -> None:
    model = tiny.model(name)
    mask = tiny.random_mask(model, seed=5)
    value, gradient = proofs.value_and_gradient(model, mask, tiny.prompts("left"), kind)
    assert value < 1e-5
    assert gradient < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "post-norm"])
def test_means_over_positions(name: str) -> None:
    model = tiny.model(name)
    errors = proofs.value_and_gradient(
        model, tiny.random_mask(model), tiny.prompts("right"), "mean", per_position=False
    )
    assert max(errors) < 1e-4


@each_kind
def test_gradients_by_finite_differences(kind: str) -> None:
    """Central differences of 40 edges in float64, whose error is of order step^2."""
    model, given = tiny.model("gpt2", "split", torch.float64), tiny.prompts("right")
    generator = torch.Generator().manual_seed(3)
    mask = tiny.random_mask(model).clamp(0.05, 0.95) * full_mask(model)

    def loss(mask: Tensor) -> Tensor:
        run, _ = tiny.ablated(model, kind, given, with_oracle=False)
        logits = tiny.engine_logits(model, mask, given, run)
        return logits.log_softmax(-1)[:, 7].sum()

    z = mask.clone().requires_grad_()
    loss(z).backward()
    edges = model.graph.valid.nonzero()
    for e in torch.randperm(model.graph.n_edges, generator=generator)[:40].tolist():
        step = torch.zeros_like(mask)
        step[edges[0][e], edges[1][e]] = 1e-5
        difference = (loss(mask + step) - loss(mask - step)) / 2e-5
        slope = z.grad[edges[0][e], edges[1][e]]
        torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-7)


def test_a_score_is_the_first_order_effect_of_removing_its_edge() -> None:
    """-dL/dz at z = 1, as EAP uses it, and the exact effect that it approximates."""
    model, given = tiny.model("gpt2", dtype=torch.float64), tiny.prompts()
    graph, setting = model.graph, tiny.setting(model)
    ones = full_mask(model)
    run, corrupted = tiny.ablated(model, "interchange", given)
    z = ones.clone().requires_grad_()
    tiny.engine_logits(model, z, given, run)[-1, 7].backward()
    for e in range(0, graph.n_edges, 5):
        reader, writer = graph.reader_of[e], graph.writer_of[e]

        def without(
            share: float, reader: int = int(reader), writer: int = int(writer)
        ) -> tuple[Tensor, Tensor]:
            mask = ones.clone()
            mask[reader, writer] -= share
            run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
            theirs = oracle.run(setting, mask, given.clean, corrupted)
            return tiny.engine_logits(model, mask, given, run), theirs.logits[given.kept]

        ours, theirs = without(1.0)
        assert tiny.relative(ours, theirs) < 1e-12, graph.name(e)
        slope = (without(-1e-5)[1][-1, 7] - without(1e-5)[1][-1, 7]) / 2e-5
        torch.testing.assert_close(z.grad[reader, writer], slope, rtol=1e-6, atol=1e-8)


# What a run leaves as it was


@each_kind
def test_an_ablated_run_that_is_held_serves_again(kind: str) -> None:
    """With other masks, and after gradients were taken through it: nothing writes into it."""
    model, given = tiny.model("post-norm"), tiny.prompts("right")
    run, _ = tiny.ablated(model, kind, given, with_oracle=False)
    held = replace(run, layers=tuple(run.layers))
    for seed in range(3):
        mask = sparse_mask(model, 0.4, seed)
        fresh, _ = tiny.ablated(model, kind, given, with_oracle=False)
        found = []
        for each in (held, fresh):
            z = mask.clone().requires_grad_()
            logits = tiny.engine_logits(model, z, given, each, live=bool(seed))
            logits.square().sum().backward()
            found.append((logits, z.grad))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])


def test_second_derivatives_are_refused() -> None:
    """The backward pass is written by hand, without its own: better none than a wrong one."""
    model, given = tiny.model("gpt2"), tiny.prompts()
    z = tiny.random_mask(model).requires_grad_()
    run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    loss = tiny.engine_logits(model, z, given, run).square().sum()
    (slope,) = torch.autograd.grad(loss, z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


# Padding, chosen positions, entries that are no edges


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm", "parallel"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_changes_nothing(name: str, padding: str) -> None:
    assert proofs.padding(tiny.model(name), padding) < 1e-5


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("kind", ["interchange", "mean", "zero"])
@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm", "parallel"])
@each_padding
def test_reading_at_chosen_positions(padding: str, name: str, kind: str, live: bool) -> None:
    """In any order, and the same position twice."""
    exact = name in tiny.EXACT
    model = tiny.model(name, dtype=torch.float64 if exact else torch.float32)
    given = tiny.prompts(padding)
    mask = sparse_mask(model, 0.3, 4)
    tokens = model.outer(given.clean, given.mask).tokens
    rows, cols = torch.tensor([2, 0, 1, 0]), torch.tensor([2, 4, 2, 4])
    index = tokens.index(rows, cols)
    weight = torch.randn(4, tiny.VOCABULARY, generator=torch.Generator().manual_seed(0))
    found = []
    for at in (index, None):
        z = mask.clone().requires_grad_()
        run, _ = tiny.ablated(model, kind, given, with_oracle=False)
        logits = tiny.engine_logits(model, z, given, run, at, live)
        logits = logits if at is not None else tokens.unpack(logits)[rows, cols]
        (logits * weight).sum().backward()
        found.append((logits.detach(), z.grad))
    (value, gradient), (all_values, all_gradients) = found
    if live:  # closed entries have a gradient or none, by how their group is multiplied
        both = (mask != 0) | ((gradient != 0) & (all_gradients != 0))
        gradient, all_gradients = gradient[both], all_gradients[both]
    if exact:
        torch.testing.assert_close(value, all_values, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, all_gradients, rtol=1e-10, atol=1e-10)
    else:
        assert tiny.relative(value, all_values) < 1e-5
        assert tiny.relative(gradient, all_gradients) < 1e-5


def test_entries_that_are_no_edges_count_for_nothing() -> None:
    model, given = tiny.model("llama-gqa"), tiny.prompts()
    mask = sparse_mask(model, 0.2, 1)
    noisy = torch.where(torch.from_numpy(model.graph.causal.copy()), mask, 3.0)
    for live in (False, True):
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        expected = tiny.engine_logits(model, mask, given, run, live=live)
        z = noisy.clone().requires_grad_()
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        logits = tiny.engine_logits(model, z, given, run, live=live)
        assert torch.equal(logits, expected)
        logits.sum().backward()
        assert not z.grad[torch.from_numpy(~model.graph.causal)].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (4, 1)])
@pytest.mark.parametrize("name", ["gpt2-one-head", "llama-gqa", "post-norm"])
def test_one_token_and_one_prompt(name: str, shape: tuple[int, int]) -> None:
    # Of a single token queries and keys get no gradient, and in float32 what rounding leaves of it
    # is as large as the bound on some processors.
    model = tiny.model(name, dtype=torch.float64)
    given = tiny.prompts(shape=shape)
    mask = tiny.random_mask(model, dtype=torch.float64)
    assert max(proofs.value_and_gradient(model, mask, given, "interchange")) < 1e-4


def test_slices_of_any_size_and_memory_full_of_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = tiny.model("llama-gqa"), tiny.prompts("right")
    mask = sparse_mask(model, 0.3, 2)

    def found() -> tuple[Tensor, Tensor]:
        z = mask.clone().requires_grad_()
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        logits = tiny.engine_logits(model, z, given, run, live=True)
        logits.log_softmax(-1)[:, 7].sum().backward()
        return logits.detach(), z.grad

    expected = found()
    torch.use_deterministic_algorithms(True)  # which fills new memory with NaN
    try:
        assert torch.empty(3).isnan().all()
        for size in (1, 1500, 4 << 20):
            monkeypatch.setattr(slices, "SLICE_BYTES", size)
            for ours, theirs in zip(found(), expected, strict=True):
                assert tiny.relative(ours, theirs) < 1e-5
    finally:
        torch.use_deterministic_algorithms(False)


@each_model
def test_bfloat16_within_its_rounding(name: str) -> None:
    """As close to the float32 result of the same weights as a few roundings to 8 bits allow."""
    family, make = tiny.MODELS[name]
    whole = build(make().to(torch.bfloat16).float(), None, name, family, "joint")
    half = tiny.model(name, dtype=torch.bfloat16)
    error, own, cosine = proofs.sixteen_bits(half, whole, tiny.prompts("right"))
    assert error < max(0.02, 3 * own)
    assert cosine > 0.99
