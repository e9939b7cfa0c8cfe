"""Products by oneDNN are those of PyTorch, wherever they are asked for."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import proofs
import tiny
from edgewise.counting import Counter
from edgewise.ops import product as ops


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL"])
def by_onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Which of the two multiplies, whatever the processor and however few there are."""
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(ops, "mkl_lags", lambda: request.param)
    monkeypatch.setattr(ops, "OPERATIONS", 1)
    return request.param


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """What oneDNN was given."""
    seen, before = [], ops._by_onednn

    def watched(x: Tensor, *rest: Tensor | None) -> Tensor:
        seen.append(x.shape)
        return before(x, *rest)

    monkeypatch.setattr(ops, "_by_onednn", watched)
    return seen


def made(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_products(by_onednn: bool, calls: list[torch.Size]) -> None:
    a, b, total = made((5, 33), (33, 21), (5, 21))
    exact = a.double() @ b.double()
    same(ops.product(a, b), exact)
    same(ops.product(a, b.t().contiguous().t()), exact)
    into = total.clone()
    ops.add_product(a, b, into)
    same(into, total.double() + exact)
    assert len(calls) == 3 * by_onednn


def test_parts_of_a_product(by_onednn: bool, calls: list[torch.Size]) -> None:
    a, b = made((5, 33), (33, 7, 3))
    into = [(slice(0, 2), torch.empty(5, 2, 3)), (slice(2, 7), torch.empty(5, 5, 3))]
    ops.put_product(a, b, into)
    exact = torch.einsum("rk,knd->rnd", a.double(), b.double())
    same(torch.cat([out for _, out in into], 1), exact)
    assert len(calls) == by_onednn


@pytest.mark.usefixtures("by_onednn")
def test_matrices_that_are_not_in_one_stretch_are_mkl_s(calls: list[torch.Size]) -> None:
    a, b = made((5, 66), (33, 42))
    ops.product(a[:, ::2], b[:, :21].contiguous())
    ops.product(a[:, :33].contiguous(), b[:, :21])
    assert not calls


@pytest.mark.usefixtures("by_onednn")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_as_ever(dtype: torch.dtype, calls: list[torch.Size]) -> None:
    a, b = (t.to(dtype) for t in made((5, 33), (33, 21)))
    assert torch.equal(ops.product(a, b), a @ b)
    assert not calls


def test_small_ones_are_mkl_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "mkl_lags", lambda: True)
    a, b = made((4, 1 << 10), (1 << 10, 1 << 13))
    assert ops.suits(a, b.t())  # of 2^26 operations
    assert not ops.suits(a[:3], b.t())


@pytest.mark.parametrize("kind", [nn.Linear, lambda i, o: Conv1D(o, i)], ids=["Linear", "Conv1D"])
@pytest.mark.parametrize("outer", [(), (4,)], ids=["matrix", "batch"])
def test_layers_of_any_module(
    kind: type[nn.Module], outer: tuple[int, ...], by_onednn: bool, calls: list[torch.Size]
) -> None:
    module = nn.Sequential(kind(6, 9), nn.GELU(), kind(9, 4))
    x, dy = made((*outer, 3, 6), (*outer, 3, 4))
    leaf = x.clone().requires_grad_()
    with ops.linears(x):
        found = module(leaf)
    (dx,) = torch.autograd.grad(found, leaf, dy)
    assert len(calls) == 4 * by_onednn
    exact, x64 = module.double(), x.double().requires_grad_()
    expected = exact(x64)
    same(found, expected)
    same(dx, torch.autograd.grad(expected, x64, dy.double())[0])
    assert len(calls) == 4 * by_onednn  # and outside of it as ever


@pytest.mark.parametrize("name", tiny.MODELS)
def test_runs_are_the_model_s_and_the_oracle_s(
    name: str, by_onednn: bool, calls: list[torch.Size]
) -> None:
    model, given = tiny.model(name), tiny.prompts("right")
    assert proofs.identity(model, given, "interchange") < 1e-5
    errors = proofs.value_and_gradient(model, tiny.random_mask(model), given, "interchange")
    assert max(errors) < 1e-3
    assert bool(calls) == by_onednn


@pytest.mark.usefixtures("by_onednn")
def test_either_s_operations_are_counted() -> None:
    with Counter("") as counter:
        ops.product(torch.zeros(2, 3), torch.zeros(3, 5))
    assert counter.flops == 2 * 2 * 3 * 5


@pytest.mark.usefixtures("by_onednn")
def test_no_graph_is_made_without_need() -> None:
    layer, (x,) = nn.Linear(6, 9), made((3, 6))
    with torch.no_grad(), ops.linears(x):
        assert not layer(x.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("told", "vendor"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nvendor_id\t: Other\n", "AuthenticAMD"),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", ""),
        (None, ""),
    ],
)
def test_who_made_the_processor(
    told: str | None, vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr(ops, "CPUINFO", file)
    assert ops.processor("vendor_id") == vendor


@pytest.mark.parametrize("vendor", ["GenuineIntel", ""])
def test_mkl_stays_where_it_is_at_home(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "processor", lambda field: vendor)
    assert not ops.mkl_lags.__wrapped__()
