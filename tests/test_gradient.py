"""The gradient where every edge is kept, against the oracle's reads and the masked run."""

from dataclasses import replace

import pytest
import torch

import oracle
import tiny
from edgewise.gradient import FullRun
from edgewise.ops.chunks import Wide
from edgewise.stream import masked_read, own_tokens
from test_stream import FLOAT64, KINDS, full_mask


@pytest.mark.parametrize(
    ("name", "embeddings", "kind"), [(*case, KINDS[i % 3]) for i, case in enumerate(FLOAT64)]
)
def test_differences_and_gradients_are_the_oracle_s(name: str, embeddings: str, kind: str) -> None:
    """sum_n <dL/dx_r, delta_w>, of any delta, with the gradients of the oracle's own reads."""
    model, given = tiny.model(name, embeddings, torch.float64), tiny.prompts("right")
    setting, graph = tiny.setting(model), model.graph
    ours, theirs = tiny.ablated(model, kind, given)
    outer = model.outer(given.clean, given.mask)
    run = FullRun(model, outer, ours)
    ones = full_mask(model).requires_grad_()
    slow = oracle.run(setting, ones, given.clean, theirs, given.mask)
    writes = zip(slow.writes, theirs.writes, strict=True)
    expected = torch.stack([(write - other)[given.kept] for write, other in writes])
    expected = tiny.seen(model, expected)
    exact = 1e-10 if name in tiny.EXACT else 1e-4
    assert tiny.relative(run.less().memory, expected.detach()) < max(exact, 1e-6)

    weight = torch.linspace(-1, 1, tiny.VOCABULARY)
    slopes = torch.autograd.grad((slow.logits[given.kept] * weight).sum(), slow.reads)
    n = len(run.stream)
    delta = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).double()
    delta = tiny.seen(model, delta)
    rows = [torch.einsum("nd,wnd->w", slope[given.kept], delta) for slope in slopes]
    causal = torch.from_numpy(graph.causal.copy())
    read = run.stream.clone().requires_grad_()
    (dread,) = torch.autograd.grad((model.head(read) * weight).sum(), read)
    for again in (run, FullRun(model, outer, ours, graphs=True)):
        found = again.gradient(dread, Wide.of(delta, [slice(0, n)]))
        assert tiny.relative(found, torch.stack(rows) * causal) < exact


def test_graphs_are_kept_where_there_is_room_and_serve_once() -> None:
    model, given = tiny.model("llama-mqa", dtype=torch.float64), tiny.prompts("right")
    outer = model.outer(given.clean, given.mask)
    ours, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    index = torch.tensor([3])
    runs = [FullRun(model, outer, ours, None, index, graphs) for graphs in (False, True)]
    kept = [[write is not None for _, write in run._mlps] for run in runs]
    assert not any(kept[0])
    assert kept[1][0]
    weight, delta = torch.ones_like(runs[0].read), runs[0].less()
    found = [run.gradient(weight, delta) for run in (*runs, runs[1])]
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    assert not any(write is not None for _, write in runs[1]._mlps)


@pytest.mark.parametrize("parted", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "parallel", "post-norm"])
def test_answers_at_some_tokens(name: str, parted: bool) -> None:
    """As the masked run's own gradient at all ones, read where a loss reads it."""
    model, given = tiny.model(name, dtype=torch.float64), tiny.prompts("right")
    outer = model.outer(given.clean, given.mask)
    index = torch.tensor([4, 1, 4])
    weight = torch.randn(3, model.width, generator=torch.Generator().manual_seed(1)).double()
    ours, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
    z = full_mask(model).requires_grad_()
    ours = replace(ours, layers=tuple(ours.layers))
    masked_read(model, z, outer, ours, index).backward(weight)
    own = own_tokens(model, outer, ours, index)
    assert own is not None
    assert len(own) < outer.tokens.count
    for graphs in (False, True):
        run = FullRun(model, outer, ours, own if parted else None, index, graphs)
        n = len(run.stream)
        for cut in (None, [slice(0, 3), slice(3, 5), slice(5, n)]):
            found = run.gradient(weight, run.less(None, cut))
            assert tiny.relative(found, z.grad) < (1e-10 if name in tiny.EXACT else 1e-6)
