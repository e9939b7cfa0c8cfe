"""The ablated run: against hooks on the model, and independent of how things are batched."""

import pytest
import torch
from torch import Tensor

import oracle
import tiny
from edgewise import ablation
from edgewise.ablation import AblatedRun, Means
from edgewise.counting import Counter
from edgewise.errors import ConfigError, DataError
from edgewise.models.model import Model
from edgewise.stream import full_read
from unchecked import unchecked

each_model = pytest.mark.parametrize("name", ["gpt2", "llama-mqa", "parallel", "post-norm"])


def streams_of(run: AblatedRun, model: Model) -> list[Tensor]:
    """The run's stream at every reader, in order."""
    graph = model.graph
    found = []
    for state in run.layers:
        found += [state.base_attention] * (graph.n_heads + 2 * graph.n_kv_heads)
        found.append(state.base_mlp)
    return [*found, *run.final]


def heads_of(model: Model, run: AblatedRun) -> list[Tensor]:
    """What each head of each block wrote, in writer order."""
    found = []
    for block, state in zip(model.blocks, run.layers, strict=True):
        each = torch.einsum("nhc,hcd->nhd", state.heads, block.out_weight)
        if block.out_bias is not None:
            scale = state.scale * torch.ones(each.shape[0])
            each = each + scale[:, None, None] * block.out_bias
        found += [*each.unbind(1), state.mlp]
    return found


@each_model
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_both_prompts_in_one_batch_are_two_runs(name: str, padding: str) -> None:
    model, given = tiny.model(name, dtype=torch.float64), tiny.prompts(padding)
    alone = ablation.interchange(model, given.corrupted, given.mask)
    run, clean = ablation.beside(model, given.clean, given.corrupted, given.mask)
    assert not clean
    for ours, theirs in zip(run.layers, alone.layers, strict=True):
        for field, value in vars(theirs).items():
            torch.testing.assert_close(getattr(ours, field), value)
    torch.testing.assert_close(run.embeddings, alone.embeddings)
    torch.testing.assert_close(run.final, alone.final)
    outer = model.outer(given.clean, given.mask)
    everywhere = torch.arange(outer.tokens.count)
    torch.testing.assert_close(clean, [full_read(model, outer, everywhere)])


@each_model
@pytest.mark.parametrize("padding", ["none", "left"])
def test_the_end_at_some_tokens(name: str, padding: str) -> None:
    """Is what it is elsewhere; other tokens have none, and that shows."""
    model, given = tiny.model(name, dtype=torch.float64), tiny.prompts(padding)
    ends = torch.tensor([1, 4])
    whole, full = ablation.beside(model, given.clean, given.corrupted, given.mask)
    run, clean = ablation.beside(model, given.clean, given.corrupted, given.mask, ends)
    *before, last = zip(run.layers, whole.layers, strict=True)
    for ours, theirs in before:
        torch.testing.assert_close(vars(ours), vars(theirs))
    ours, theirs = (dict(vars(state)) for state in last)
    pairs = [(ours.pop(name), theirs.pop(name)) for name in ("base_mlp", "mlp")]
    for found, expected in (*pairs, (run.final[0], whole.final[0]), (clean[0], full[0])):
        torch.testing.assert_close(found[ends], expected[ends])
        there = torch.ones(len(found), dtype=torch.bool).index_fill_(0, ends, False)
        assert torch.equal(found.isnan().any(-1), there)
    torch.testing.assert_close(ours, theirs)


def test_what_prompts_begin_with_is_computed_once() -> None:
    """Of 16 tokens 12 where three prompts begin with two alike; all but attention go with them."""
    model, given = tiny.model("gpt2"), tiny.prompts(shape=(2, 4))
    given.clean[:, 0], given.corrupted[:, 0] = torch.tensor([1, 2]), torch.tensor([3, 4])
    flops = []
    for _ in range(2):
        run, _ = ablation.beside(model, given.clean, given.corrupted)
        with Counter() as counter:
            list(run.layers)
        flops.append(counter.flops)
        given.clean[:, :2] = given.corrupted[0, :2] = given.clean[0, :2]
    assert 0.75 * flops[0] < flops[1] < 0.85 * flops[0]


@each_model
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("kind", ["interchange", "mean", "zero"])
def test_streams_and_writes_are_the_oracle_s(name: str, padding: str, kind: str) -> None:
    model, given = tiny.model(name), tiny.prompts(padding)
    run, expected = tiny.ablated(model, kind, given)
    for ours, theirs in zip(streams_of(run, model), expected.reads, strict=True):
        assert tiny.relative(ours, theirs[given.kept]) < 5e-6
    run, _ = tiny.ablated(model, kind, given, with_oracle=False)
    writes = [*run.embeddings, *heads_of(model, run)]
    for ours, theirs in zip(writes, expected.writes, strict=True):
        assert tiny.relative(ours, theirs[given.kept]) < 1e-5


@each_model
def test_queries_are_what_the_model_computes_on_the_ablated_stream(name: str) -> None:
    model, given = tiny.model(name), tiny.prompts("right")
    for kind in ("interchange", "mean", "zero"):
        run, _ = tiny.ablated(model, kind, given, with_oracle=False)
        for block, state in zip(model.blocks, run.layers, strict=True):
            assert tiny.relative(state.qkv, block.qkv(state.base_attention)) < 1e-6


# Means


@each_model
@pytest.mark.parametrize("per_position", [True, False])
def test_means_do_not_depend_on_batches(name: str, per_position: bool) -> None:
    model, given = tiny.model(name), tiny.prompts("right", (6, 6))

    def means(*sizes: int) -> list[Tensor]:
        cuts = zip(given.clean.split(sizes), given.mask.split(sizes), strict=True)
        return flat(ablation.means(model, cuts, per_position))

    whole = means(6)
    for sizes in ((1, 5), (2, 2, 2), (1,) * 6):
        for ours, theirs in zip(means(*sizes), whole, strict=True):
            assert tiny.relative(ours, theirs) < 1e-6
    positions = 6 if per_position else 1
    assert all(t.shape[0] == positions for t in whole)


def flat(means: Means) -> list[Tensor]:
    scales = [s for s in means.scales if not isinstance(s, float)]
    return [*means.embeddings, *means.heads, *means.mlps, *scales]


def test_means_worked_out_with_hooks() -> None:
    """Of one head's outputs and one MLP's, token by token."""
    model = tiny.model("gpt2")
    block = model.blocks[1].module
    heads: list[Tensor] = []
    mlps: list[Tensor] = []
    handles = [
        block.attn.c_proj.register_forward_pre_hook(lambda _, args: heads.append(args[0])),
        block.mlp.register_forward_hook(lambda _, __, output: mlps.append(output)),
    ]
    for given in tiny.REFERENCE:
        oracle.forward(model.hf, given.clean, given.mask)
    for handle in handles:
        handle.remove()
    kept = torch.cat([given.kept for given in tiny.REFERENCE])
    for per_position in (True, False):
        means = tiny.reference(model, per_position)
        for found, expected in ((means.heads[1].flatten(1), heads), (means.mlps[1], mlps)):
            values, weight = torch.cat(expected), kept[..., None]
            over = 0 if per_position else (0, 1)
            average = (values * weight).sum(over) / weight.sum(over)
            assert tiny.relative(found, average.view(found.shape)) < 1e-6


def test_a_reference_of_one_token_is_the_same_at_every_position() -> None:
    """What a prompt of one token wrote, wherever it is put."""
    model, given = tiny.model("gpt2"), tiny.prompts()
    means = ablation.means(model, [(given.clean[:1, :1], None)], per_position=False)
    run = ablation.mean(model, model.outer(given.clean), means)
    assert torch.equal(run.embeddings[0], means.embeddings[0].expand(15, -1))


def test_a_reference_may_be_longer_than_the_prompts() -> None:
    model, given = tiny.model("gpt2"), tiny.prompts(shape=(2, 3))
    long = tiny.reference(model)
    short = Means(*(cut(part, 3) for part in (long.embeddings, long.heads, long.scales, long.mlps)))
    runs = [
        ablation.mean(model, model.outer(given.clean), reference) for reference in (long, short)
    ]
    ours, theirs = (streams_of(run, model) for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def cut(parts: tuple, n: int) -> tuple:
    return tuple(part if isinstance(part, float) else part[:n] for part in parts)


# Errors


def test_prompts_longer_than_the_reference() -> None:
    model = tiny.model("gpt2")
    given = tiny.prompts(shape=(2, 7))
    with pytest.raises(DataError, match="reference prompts have 5 positions, these 7"):
        ablation.mean(model, model.outer(given.clean), tiny.reference(model))


def test_an_empty_reference() -> None:
    with pytest.raises(DataError, match="at least one reference prompt"):
        ablation.means(tiny.model("gpt2"), [])


def test_a_position_at_which_no_reference_prompt_has_a_token() -> None:
    model, given = tiny.model("gpt2"), tiny.prompts(shape=(2, 5))
    left = torch.ones(2, 5, dtype=torch.bool)
    left[:, :2] = False
    with pytest.raises(DataError, match="no reference prompt has a token at position 0: pad on"):
        ablation.means(model, [(given.clean, left)])
    assert ablation.means(model, [(given.clean, left)], per_position=False).mlps[0].isfinite().all()


def test_what_a_kind_needs() -> None:
    model, given = tiny.model("gpt2"), tiny.prompts()
    outer = model.outer(given.clean)
    with pytest.raises(ConfigError, match="needs counterfactual_ids"):
        ablation.ablated(model, outer, "interchange", None, None, None)
    with pytest.raises(ConfigError, match="needs reference means"):
        ablation.ablated(model, outer, "mean", None, None, None)
    with unchecked(), pytest.raises(ConfigError, match="'interchange', 'mean' or 'zero', not 'me'"):
        ablation.ablated(model, outer, "me", None, None, None)
