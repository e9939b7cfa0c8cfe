"""The KL of rows of logits, against scipy and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from edgewise.ops import kl


def logits(rows: int = 5, vocabulary: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, rows, vocabulary, generator=generator, dtype=torch.float64) * 3)


@pytest.mark.parametrize("row_bytes", [1, 100, 1 << 20])
def test_rows_are_scipy_s_in_chunks_of_any_size(row_bytes, monkeypatch):
    monkeypatch.setattr(kl, "ROW_BYTES", row_bytes)
    full, circuit = logits()
    p, q = (special.softmax(t.numpy(), -1) for t in (full, circuit))
    found = kl.kl_rows(full, circuit)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, stats.entropy(p, q, axis=-1), rtol=1e-5)


def test_by_hand():
    """KL of (1/2, 1/2) from (3/4, 1/4) is log 2 - log 3 / 2."""
    full, circuit = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    assert kl.kl_rows(full, circuit).item() == pytest.approx(math.log(2) - math.log(3) / 2)


def test_a_token_set_is_renormalised():
    full, circuit = logits()
    kept = torch.tensor([7, 2, 3])
    p, q = (special.softmax(t[:, kept].numpy(), -1) for t in (full, circuit))
    np.testing.assert_allclose(
        kl.kl_rows(full, circuit, kept), stats.entropy(p, q, axis=-1), rtol=1e-5
    )
    assert not kl.kl_rows(full, circuit, torch.tensor([4])).any()


def test_a_model_s_kl_from_itself_is_zero():
    full, _ = logits()
    assert (kl.kl_rows(full, full.clone()).abs() < 1e-6).all()
    shifted = kl.kl_rows(full, full + 5)
    assert (shifted.abs() < 1e-5).all()


@pytest.mark.parametrize("kept", [None, torch.tensor([7, 2, 3])])
def test_the_gradient_is_q_minus_p(kept):
    full, circuit = logits()
    circuit.requires_grad_()
    kl.kl_rows(full, circuit, kept).sum().backward()
    part = slice(None) if kept is None else kept
    p, q = (t.detach()[:, part].softmax(-1) for t in (full, circuit))
    expected = torch.zeros_like(full)
    expected[:, part] = q - p
    torch.testing.assert_close(circuit.grad, expected, rtol=1e-4, atol=1e-6)


def test_rows_may_count_differently():
    full, circuit = logits()
    weights = torch.linspace(-1, 2, len(full), dtype=torch.float64)
    circuit.requires_grad_()
    (kl.kl_rows(full, circuit) * weights).sum().backward()
    p, q = (t.detach().softmax(-1) for t in (full, circuit))
    torch.testing.assert_close(circuit.grad, (q - p) * weights[:, None], rtol=1e-4, atol=1e-6)


def test_tokens_that_either_never_predicts():
    """Logits of -inf in both are no difference; only in the circuit, an infinite one."""
    full, circuit = logits()
    both = [t.clone() for t in (full, circuit)]
    for t in both:
        t[:, 3] = -1e30
    others = torch.tensor([v for v in range(11) if v != 3])
    torch.testing.assert_close(kl.kl_rows(*both), kl.kl_rows(full, circuit, others))


def test_bfloat16_rows_are_summed_in_float32():
    full, circuit = (t.bfloat16() for t in logits(3, 5000))
    expected = kl.kl_rows(full.double(), circuit.double())
    torch.testing.assert_close(kl.kl_rows(full, circuit), expected, rtol=1e-4, atol=1e-4)


def test_no_rows():
    found = kl.kl_rows(torch.zeros(0, 4), torch.zeros(0, 4))
    assert found.shape == (0,)
    assert found.dtype == torch.float32
