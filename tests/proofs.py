"""What must hold of every adapted model, whatever its family.

`identity` and its like return the largest relative error that they found; `check_layout` asserts.
"""

import torch
from torch import Tensor

import oracle
import tiny
from edgewise import ablation
from edgewise.models.model import Model
from edgewise.stream import run


def decomposition(model: Model, given: tiny.Prompts) -> float:
    """The oracle's own: writes add up to the streams that hooks find, logits are the model's."""
    setting = tiny.setting(model)
    plain = oracle.plain(setting, given.clean, given.mask)
    own = oracle.forward(model.hf, given.clean, given.mask)
    streams = oracle.streams(setting, given.clean, given.mask)
    pairs = [(plain.logits, own), *zip(plain.reads, streams, strict=True)]
    return max(tiny.relative(a[given.kept], b[given.kept]) for a, b in pairs)


def identity(model: Model, given: tiny.Prompts, kind: str = "interchange") -> float:
    """All ones are the clean model."""
    ones = torch.from_numpy(model.graph.causal.copy()).to(model.dtype)
    ours, _ = tiny.ablated(model, kind, given, with_oracle=False)
    own = oracle.forward(model.hf, given.clean, given.mask)
    return tiny.relative(tiny.engine_logits(model, ones, given, ours), own[given.kept])


def annihilation(model: Model, given: tiny.Prompts) -> float:
    """All zeros are the corrupted run."""
    zeros = torch.zeros(model.graph.n_readers, model.graph.n_writers, dtype=model.dtype)
    ours, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    own = oracle.forward(model.hf, given.corrupted, given.mask)
    return tiny.relative(tiny.engine_logits(model, zeros, given, ours), own[given.kept])


def value(model: Model, mask: Tensor, given: tiny.Prompts, kind: str, live: bool = False) -> float:
    """The logits under a mask are the oracle's."""
    ours, theirs = tiny.ablated(model, kind, given)
    expected = oracle.run(tiny.setting(model), mask, given.clean, theirs, given.mask).logits
    found = tiny.engine_logits(model, mask, given, ours, live=live)
    return tiny.relative(found, expected[given.kept])


def value_and_gradient(
    model: Model, mask: Tensor, given: tiny.Prompts, kind: str, per_position: bool = True
) -> tuple[float, float]:
    """The logits, and the mask's gradient of a random sum of them, are the oracle's.

    The gradient's error is measured reader by reader, against that reader's largest entry or a
    thousandth of the largest of all.
    """
    ours, theirs = tiny.ablated(model, kind, given, per_position)
    z, z_oracle = (mask.clone().requires_grad_() for _ in range(2))
    found = tiny.engine_logits(model, z, given, ours)
    expected = oracle.run(tiny.setting(model), z_oracle, given.clean, theirs, given.mask).logits
    expected = expected[given.kept]
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(0)).to(found)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    size = z_oracle.grad.abs()
    scale = size.amax(1).clamp(min=1e-3 * size.max())
    gradient = ((z.grad - z_oracle.grad).abs().amax(1) / scale).max().item()
    return tiny.relative(found.detach(), expected.detach()), gradient


def sum_of_writes(model: Model, given: tiny.Prompts) -> float:
    """What writers write adds up to the streams that hooks find at every reader."""
    graph = model.graph
    outer = model.outer(given.clean, given.mask)
    final: list[Tensor] = []
    writes = list(outer.embeddings)
    for block, state in zip(model.blocks, ablation.plain(model, outer, final), strict=True):
        each = torch.einsum("nhc,hcd->nhd", state.heads, block.out_weight)
        if block.out_bias is not None:
            each = each + (torch.ones(len(each)) * state.scale)[:, None, None] * block.out_bias
        writes += [*each.unbind(1), state.mlp]
    streams = oracle.streams(tiny.setting(model), given.clean, given.mask)
    totals = [
        sum(writes[w] for w in range(graph.n_writers) if graph.causal[r, w])
        for r in range(graph.n_readers)
    ]
    pairs = zip([*totals, final[0]], [*streams, streams[-1]], strict=True)
    return max(tiny.relative(total, stream[given.kept]) for total, stream in pairs)


def padding(model: Model, side: str, cut: bool = True) -> float:
    """Neither what stands at pads counts nor what a prompt is batched with.

    cut   nor, padded on the right, that it is padded; rotary angles may go by the padded length
    """
    given, mask = tiny.prompts(side), tiny.random_mask(model)

    def logits(clean: Tensor, corrupted: Tensor, kept: Tensor | None) -> Tensor:
        return run(model, clean, mask, counterfactual_ids=corrupted, attention_mask=kept)

    batch = logits(given.clean, given.corrupted, given.mask)
    assert not batch[~given.mask].any()
    other = [torch.where(given.mask, ids, 9) for ids in (given.clean, given.corrupted)]
    assert torch.equal(logits(*other, given.mask), batch)
    errors = []
    for b, kept in enumerate(given.mask):
        one = slice(b, b + 1)
        alone = logits(given.clean[one], given.corrupted[one], given.mask[one])
        errors.append(tiny.relative(alone[0, kept], batch[b, kept]))
        if side == "right" and cut:
            n = int(kept.sum())
            short = logits(given.clean[one, :n], given.corrupted[one, :n], None)
            errors.append(tiny.relative(short[0], batch[b, :n]))
    return max(errors)


def sixteen_bits(half: Model, whole: Model, given: tiny.Prompts) -> tuple[float, float, float]:
    """A bfloat16 model against the same weights in float32, under a fractional mask.

    Returns the logits' error, the larger of those that the model itself makes of its own logits on
    the clean and the corrupted prompts, of which the masked run is made, and the cosine of the
    gradients.
    """
    mask = tiny.random_mask(whole)
    models, results = (half, whole), []
    for model in models:
        z = mask.clone().requires_grad_()
        ablated, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        logits = tiny.engine_logits(model, z, given, ablated)
        logits.float().log_softmax(-1)[:, 7].sum().backward()
        assert z.grad.dtype == torch.float32
        results.append((logits.detach().float(), z.grad.flatten()))
    own = max(
        tiny.relative(*(oracle.forward(m.hf, ids, given.mask)[given.kept].float() for m in models))
        for ids in (given.clean, given.corrupted)
    )
    cosine = torch.cosine_similarity(results[0][1], results[1][1], 0).item()
    return tiny.relative(results[0][0], results[1][0]), own, cosine


def check_layout(
    model: Model, given: tiny.Prompts, sinks: bool = False, clipped: bool = False
) -> None:
    """Each reader's rows of a projection are what the family says they are.

    Equation (1) with one mask for all readers can't see rows that change places, so neither can
    `identity`. Attention does: a query at the first position, which attends to nothing else,
    changes nothing there or later; a key there changes later positions and not its own; a value
    there changes its own and, doubled, changes all twice as much. And only the heads that share it.

    sinks     attention at the first position has something else to attend to
    clipped   values are clipped, and so don't act linearly
    """
    setting, graph = tiny.setting(model), model.graph
    share = graph.n_heads // graph.n_kv_heads
    for layer in range(graph.n_layers):
        for row in range(graph.n_heads + 2 * graph.n_kv_heads):
            kind, head = _kind_of(model, row)
            first = [_bumped(setting, given, layer, row, 0, size) for size in (0.0, 0.5, 1.0)]
            last = _bumped(setting, given, layer, row, -1, 0.5)
            once, twice = first[1] - first[0], first[2] - first[0]
            moved = once.abs().amax((0, 3)) > 1e-5  # (T, H)
            mine = torch.zeros(graph.n_heads, dtype=torch.bool)
            mine[
                slice(head, head + 1) if kind == "q" else slice(head * share, (head + 1) * share)
            ] = True
            where = f"layer {layer}, {kind} {head}"
            if not model.graph.coupled:
                assert not moved[:, ~mine].any(), f"{where} changes other heads"
                assert not (last - first[0]).abs().amax((0, 1, 3))[~mine].any(), where
            own = kind == "v" or sinks
            assert moved[0, mine].any() == own, f"{where} at its own position"
            assert moved[1:, mine].any() == (kind != "q"), f"{where} at later positions"
            linear = torch.allclose(twice, 2 * once, atol=1e-4)
            assert linear or kind == "k" or clipped or (sinks and kind == "q"), (
                f"{where} isn't linear"
            )
            assert not (linear and kind == "k"), f"{where} is linear"
            assert (last - first[0])[:, -1, mine].abs().max() > 1e-5, (
                f"{where} at the last position"
            )


def _kind_of(model: Model, row: int) -> tuple[str, int]:
    heads, groups = model.graph.n_heads, model.graph.n_kv_heads
    if row < heads:
        return "q", row
    return ("k", row - heads) if row < heads + groups else ("v", row - heads - groups)


def _bumped(
    setting: oracle.Setting, given: tiny.Prompts, layer: int, row: int, position: int, size: float
) -> Tensor:
    """Head outputs (B, T, H, C) of a block when one reader's rows are raised at one position."""
    attention = setting.blocks[layer].get_submodule(setting.family.attention)
    seen = []
    handles = [
        attention.get_submodule(setting.family.out).register_forward_pre_hook(
            lambda _, args: seen.append(args[0])
        )
    ]
    for path, labels in zip(
        setting.family.qkv, oracle.reader_rows(setting, attention), strict=True
    ):
        if not (labels == row).any():
            continue

        def bump(_: object, __: object, output: Tensor, mine: Tensor = labels == row) -> Tensor:
            raised = output.clone()
            slope = torch.linspace(1, 2, int(mine.sum()), dtype=output.dtype)
            raised[:, position, mine] += size * slope
            return raised

        handles.append(attention.get_submodule(path).register_forward_hook(bump))
    oracle.forward(setting.hf, given.clean, given.mask, handles)
    return seen[0].unflatten(-1, (setting.graph.n_heads, -1))
