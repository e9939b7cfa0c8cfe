"""What is counted, against sums worked out by hand."""

import pytest
import torch

from edgewise.counting import Counter, storage_bytes

each_device = pytest.mark.parametrize("device", ["cpu", "meta"])


@each_device
def test_the_peak_is_the_most_that_was_alive_at_once(device):
    with Counter("first") as counter:
        a = torch.zeros(100, device=device)  # 400 bytes
        b = a * 2  # 800
        del a
        counter.stage = "second"
        c = torch.zeros(50, 2, device=device, dtype=torch.float64)  # 400 + 800
        del b
        d = c + 1  # 800 + 800
        del c, d
    assert counter.peak == {"first": 0, "second": 1600}
    assert counter.live == {"first": 0, "second": 0}


@each_device
def test_views_and_changes_in_place_take_nothing(device):
    with Counter("") as counter:
        a = torch.zeros(6, 4, device=device)
        a[1:3].t().mul_(2)
        a.view(4, 6).addmm_(a[:4, :2], a[:2].view(2, 4)[:, :2].repeat(1, 3))
        assert counter.live[""] == 96
    assert counter.peak[""] == 96 + 48  # what was repeated


@each_device
def test_restarting_looks_for_another_peak(device):
    with Counter("") as counter:
        a = torch.zeros(1000, device=device)
        del a
        kept = torch.zeros(10, device=device)
        counter.restart()
        b = kept + 1
        del b
    assert counter.peak == {"": 80}


@each_device
def test_gradients_are_counted(device):
    with Counter("") as counter:
        x = torch.zeros(10, device=device, requires_grad=True)
        (x * x).sum().backward()
    assert counter.live[""] == 80


@each_device
def test_products_are_two_operations_for_each_multiply_add(device):
    with Counter("") as counter:
        a, b = torch.zeros(2, 3, device=device), torch.zeros(3, 5, device=device)
        many, others = a.expand(4, 2, 3), b.expand(4, 3, 5)
        once = a @ b
        once.addmm_(a, b)
        torch.addmm(once[0], a, b)
        together = torch.bmm(many, others)
        together.baddbmm_(many, others)
        torch.bmm(many, others, out=together)
        torch.nn.functional.linear(a, b.t())
    one = 2 * 2 * 3 * 5
    assert counter.flops == 4 * one + 3 * 4 * one


def test_meta_tensors_say_true_and_zero():
    with Counter(""):
        a = torch.ones(3, device="meta")
        assert bool((a == 7).all()) is True
        assert a.sum().item() == 0
    with Counter(""):
        assert torch.ones(3).sum().item() == 3


def test_shared_storages_are_summed_once():
    a, b = torch.zeros(10), torch.zeros(5, device="meta")
    assert storage_bytes([a, a[2:], b, b.view(1, 5)]) == 60
