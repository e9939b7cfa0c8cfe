"""A run folder's checkpoints: written, read, superseded, torn."""

import pytest
import safetensors.torch
import torch

from test_runs import listing, open_run, tensors


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    folder = open_run(tmp_path)
    shared = torch.arange(6, dtype=torch.float32).view(2, 3)
    given = {
        "view": shared.T,
        "same memory": shared,
        "empty": torch.zeros(0),
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "half": torch.tensor([0.1, float("nan")], dtype=torch.bfloat16),
        "with gradient": torch.ones(2, requires_grad=True),
        "flags": torch.tensor([True, False]),
    }
    state = {"best": 0.1 + 0.2, "worst": float("inf"), "note": "π", "list": [1, None, True]}
    folder.save_checkpoint(7, given, state)
    step, found, kept = folder.load_checkpoint()
    assert (step, kept) == (7, state)
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        expected = tensor.detach()
        assert found[name].dtype == expected.dtype
        assert torch.equal(
            found[name].view(-1).view(torch.uint8), expected.contiguous().view(-1).view(torch.uint8)
        )


def test_no_tensors_are_a_checkpoint_too(tmp_path):
    folder = open_run(tmp_path)
    folder.save_checkpoint(0, {}, {"a": 1})
    assert folder.load_checkpoint() == (0, {}, {"a": 1})


def test_the_two_newest_are_kept(tmp_path):
    folder = open_run(tmp_path)
    for step in (5, 9, 10, 20):
        folder.save_checkpoint(step, tensors(step), {"step": step})
    names = [name for name in listing(tmp_path) if name.startswith("checkpoint")]
    assert names == ["checkpoint/10.safetensors", "checkpoint/20.safetensors"]
    assert folder.load_checkpoint()[0] == 20


def test_opening_deletes_what_kills_left_of_superseded_checkpoints(tmp_path):
    folder = open_run(tmp_path)
    for step in (10, 20):
        folder.save_checkpoint(step, tensors(step), {})
    for step in (30, 40):  # written, and then killed, twice
        content = safetensors.torch.save(tensors(step), {"state": "{}"})
        (tmp_path / "checkpoint" / f"{step}.safetensors").write_bytes(content)
    assert open_run(tmp_path).load_checkpoint()[0] == 40
    names = [name for name in listing(tmp_path) if name.startswith("checkpoint")]
    assert names == ["checkpoint/30.safetensors", "checkpoint/40.safetensors"]


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_torn_checkpoint_is_skipped_and_later_replaced(tmp_path, size):
    folder = open_run(tmp_path)
    folder.save_checkpoint(10, tensors(10), {"step": 10})
    folder.save_checkpoint(20, tensors(20), {"step": 20})
    newest = tmp_path / "checkpoint" / "20.safetensors"
    newest.write_bytes(newest.read_bytes()[:size])
    with pytest.warns(UserWarning, match=r"20\.safetensors is skipped"):
        step, found, _ = folder.load_checkpoint()
    assert step == 10
    assert torch.equal(found["log_alpha"], tensors(10)["log_alpha"])
    folder.save_checkpoint(15, tensors(15), {"step": 15})
    assert folder.load_checkpoint()[0] == 15
    assert not newest.exists()


def test_a_safetensors_file_of_another_program_is_skipped(tmp_path):
    folder = open_run(tmp_path)
    folder.save_checkpoint(10, tensors(10), {})
    safetensors.torch.save_file(tensors(1), tmp_path / "checkpoint" / "30.safetensors")
    with pytest.warns(UserWarning, match="is skipped"):
        assert folder.load_checkpoint()[0] == 10


def test_loaded_tensors_outlive_the_file_and_may_be_changed(tmp_path):
    folder = open_run(tmp_path)
    folder.save_checkpoint(1, tensors(1), {})
    _, found, _ = folder.load_checkpoint()
    for file in (tmp_path / "checkpoint").iterdir():
        file.write_bytes(b"")
    found["log_alpha"] += 1
    assert torch.equal(found["log_alpha"], tensors(1)["log_alpha"] + 1)
