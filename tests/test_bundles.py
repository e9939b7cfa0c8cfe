"""Readers of several blocks mixed in one product: which are, and that nothing else changes."""

from itertools import pairwise

import pytest
import torch

import proofs
import tiny
from edgewise import bundles, stream
from edgewise.cuts import Cuts
from edgewise.models.model import Model, build
from edgewise.ops import slices
from edgewise.ops.chunks import Chunks, Wide
from edgewise.plan import everything, plan
from edgewise.workspace import Workspace
from test_stream import each_kind

DEEP = {
    "gpt2": ("gpt2", lambda: tiny.gpt2(n_layer=12, n_head=1)),
    "llama": (
        "llama-gqa",
        lambda: tiny.llama(
            num_hidden_layers=12, num_attention_heads=2, num_key_value_heads=1, hidden_size=8
        ),
    ),
}
each_deep = pytest.mark.parametrize("name", DEEP)


def deep(name: str, dtype: torch.dtype = torch.float32) -> Model:
    like, make = DEEP[name]
    return build(make().to(dtype), None, name, tiny.MODELS[like][0], "joint")


def bundled(
    model: Model, mask: torch.Tensor, live: bool = False, buffers: int = 1
) -> list[bundles.Bundle]:
    """Those of a run of 10 tokens whose logits are read everywhere, in what buffers spare."""
    graph = model.graph
    work = plan(graph, (mask != 0).numpy() & graph.causal, True) if live else everything(graph)
    buffer = torch.empty(work.n_live, 10, 1)
    return bundles.bundles(Cuts(work, mask, mask.dtype), lambda used: [[buffer[used:]] * buffers])


@each_deep
def test_blocks_are_together_where_there_is_room(name: str) -> None:
    model = deep(name)
    graph, found = model.graph, bundled(deep(name), tiny.random_mask(model))
    assert [b.first for b in found] == sorted(b.first for b in found)
    assert all(b.first <= block <= b.last for block, b in enumerate(found))
    assert max(b.last - b.first for b in found) >= 2
    for bundle in {b for b in found if b.cut is not None}:
        assert bundle.used == graph.mlp_writer(bundle.last) + 1
        assert len(bundle.cut.rows) <= graph.n_writers - bundle.used
        readers = [r for b in range(bundle.first, bundle.last + 1) for r in rows(model, b)]
        assert bundle.cut.rows[:, 0].tolist() == readers
        assert len(bundle.cut.columns) == graph.writers_before_attention(bundle.first)
    assert found[-1].cut is None  # there is no room after the last writer


@each_deep
def test_two_buffers_have_room_for_more(name: str) -> None:
    model = deep(name)
    one, two = (bundled(model, tiny.random_mask(model), buffers=n) for n in (1, 2))
    assert sum(b.cut is None for b in two) < sum(b.cut is None for b in one)
    for bundle in {b for b in two if b.cut is not None}:
        assert len(bundle.cut.rows) <= 2 * (model.graph.n_writers - bundle.used)


@pytest.mark.parametrize("sizes", [(40,), (7, 40), (9, 3, 40), (0, 40), (11, 9, 11)])
def test_what_is_held_in_several_rooms_is_the_product(sizes: tuple[int, ...]) -> None:
    model, tokens = deep("gpt2"), 9
    mask = tiny.random_mask(model)
    bundle = max(bundled(model, mask), key=lambda b: b.last - b.first)
    count = len(bundle.cut.rows)
    rooms = [torch.full((size * count // 20, tokens, 15), torch.nan) for size in sizes]
    delta = torch.randn(model.graph.n_writers, tokens, 15)
    expected = torch.einsum("rw,wnd->rnd", bundle.cut.mask, delta[bundle.cut.span])
    for ends in ([9], [4, 9]):
        chunks = [slice(*pair) for pair in pairwise([0, *ends])]
        free = zip(
            *([values for _, values in Wide.of(room, chunks)] for room in rooms), strict=True
        )
        buffer = Chunks(tuple((at, delta[:, at]) for at in chunks))
        held = bundle.mix(buffer, lambda used, free=tuple(free): free)
        assert [at for part, _ in held for at in range(tokens)[part]] == list(range(tokens))
        found = torch.cat([x for _, x in held], 1)
        torch.testing.assert_close(found, expected)
        places = [x.untyped_storage().data_ptr() for _, x in held]
        assert set(places) <= {room.untyped_storage().data_ptr() for room in rooms}


def rows(model: Model, block: int) -> list[int]:
    graph = model.graph
    attention = graph.attention_readers(block)
    return [*range(attention.start, attention.stop), graph.mlp_reader(block)]


def test_blocks_of_few_entries_stay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = deep("gpt2")
    few = torch.zeros(model.graph.n_readers, model.graph.n_writers)
    few[:, 0] = few[model.graph.logits_reader] = 1.0
    assert all(b.cut is None for b in bundled(model, few, live=True))
    assert any(b.cut is not None for b in bundled(model, few))
    monkeypatch.setattr(bundles, "ROWS", 0)
    assert all(b.cut is None for b in bundled(model, tiny.random_mask(model)))


@each_deep
@each_kind
def test_values_and_gradients_are_the_oracle_s(name: str, kind: str) -> None:
    exact = name == "gpt2"
    model = deep(name, torch.float64 if exact else torch.float32)
    mask = tiny.random_mask(model)
    assert any(b.cut is not None for b in bundled(model, mask))
    for padding in ("none", "left"):
        errors = proofs.value_and_gradient(model, mask, tiny.prompts(padding), kind)
        assert max(errors) < (1e-9 if exact else 1e-3)


@each_deep
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("answers", [False, True])
def test_alone_or_together_is_the_same(
    name: str, live: bool, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for buffers used again, which hold what was put there before, and cut into slices."""
    model, given = deep(name, torch.float64), tiny.prompts("right")
    mask, space = tiny.random_mask(model), Workspace()
    index = torch.tensor([4, 8]) if answers else None
    found = []
    widest = model.graph.n_readers // model.graph.n_layers * model.width * 8  # bytes of a token
    whole, three = slices.SLICE_BYTES, 3 * widest
    for most, size in ((64, whole), (64, three), (64, 1), (0, whole)):
        monkeypatch.setattr(bundles, "ROWS", most)
        monkeypatch.setattr(slices, "SLICE_BYTES", size)
        run, _ = tiny.ablated(model, "interchange", given, with_oracle=False)
        z, outer = mask.clone().requires_grad_(), model.outer(given.clean, given.mask)
        read = stream.masked_read(model, z, outer, run, index, live, space)
        (read * torch.linspace(-1, 1, read.shape[1])).sum().backward()
        found.append((read.detach(), z.grad))
    *together, (alone, dalone) = found
    assert dalone.abs().max() > 0
    for read, gradient in together:
        assert tiny.relative(read, alone) < 1e-5
        assert tiny.relative(gradient, dalone) < 1e-5
