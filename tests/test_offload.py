"""A model whose blocks stay on disk computes, to the last bit, what it computes in memory."""

from pathlib import Path

import pytest
import torch

import commands
import edgewise
import tiny
import toy
from edgewise import cli
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError
from edgewise.models.fingerprint import weights_fingerprint
from edgewise.models.model import Model
from edgewise.prepared import prepare
from edgewise.report import Report
from edgewise.stream import as_mask
from unchecked import unchecked

each_model = pytest.mark.parametrize("name", ["gpt2-scaled", "llama-rope", "parallel", "post-norm"])


def pair(name: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> tuple[Model, Model]:
    """A model of `tiny`'s table, loaded whole and left on disk."""
    toy.fresh(name, dtype).hf.save_pretrained(folder, max_shard_size="8KB")
    given = {"dtype": dtype, "device": "cpu", "check": False}
    return edgewise.load(folder, **given), edgewise.load(folder, offload="disk", **given)


def gradient(model: Model, ablation: str) -> torch.Tensor:
    means = tiny.reference(model) if ablation == "mean" else None
    mask = as_mask(model, tiny.random_mask(model, dtype=torch.float32)).requires_grad_()
    ready = prepare(model, toy.task(3).batch("train", range(3)), ablation, means)
    ready.logits(mask, live=True).square().sum().backward()
    return mask.grad


@each_model
@pytest.mark.parametrize("ablation", ["interchange", "mean", "zero"])
def test_gradients_are_the_same_bits(name, ablation, tmp_path):
    whole, left = pair(name, tmp_path)
    expected = gradient(whole, ablation)
    assert torch.equal(gradient(left, ablation), expected)
    assert torch.equal(gradient(left, ablation), expected)  # wherever the last run left it


@each_model
def test_logits_are_the_same_bits(name, tmp_path):
    whole, left = pair(name, tmp_path, torch.float32)
    given = tiny.prompts("right")
    prompts = {"counterfactual_ids": given.corrupted, "attention_mask": given.mask}
    mask = tiny.random_mask(whole)
    ours, theirs = (edgewise.run(model, given.clean, mask, **prompts) for model in (left, whole))
    assert torch.equal(ours, theirs)
    assert torch.equal(left.hf(given.clean).logits, whole.hf(given.clean).logits)


def test_a_search_finds_the_same_circuit(tmp_path, monkeypatch):
    monkeypatch.setattr("edgewise.discovery.search.multiplies_bfloat16", lambda device: True)
    whole, left = pair("gpt2", tmp_path / "model", torch.float32)
    task = toy.task()
    given = {"density": 0.2, "steps": 4, "batch_size": 5, "init_prompts": 6}
    expected = edgewise.discover(whole, task, edgewise.EdgePruning(**given, precision="model"))
    # no copy in bfloat16 is made of a model on disk
    found = edgewise.discover(left, task, edgewise.EdgePruning(**given, precision="auto"))
    assert (found.scores.values == expected.scores.values).all()
    report = edgewise.evaluate(left, task, found.circuit, split="train")
    assert report.kl == edgewise.evaluate(whole, task, expected.circuit, split="train").kl
    assert weights_fingerprint(left.hf) == weights_fingerprint(whole.hf)


def mapped(model: Model) -> list[bool]:
    """Whether each block's matrices are where a file is mapped."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    files = [line[0].split("-") for line in lines if line[-1].endswith(".safetensors")]
    places = [(int(start, 16), int(end, 16)) for start, end in files]

    def on_disk(matrix: torch.Tensor) -> bool:
        return any(start <= matrix.data_ptr() < end for start, end in places)

    found = []
    for part in model.blocks.parts:
        there = {on_disk(p) for p in part.module.parameters() if p.ndim > 1}
        assert len(there) == 1, "a block is in memory or on disk, as a whole"
        found.append(there.pop())
    return found


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_one_block_is_in_memory_and_its_neighbour_comes(tmp_path):
    _, left = pair("llama-rope", tmp_path)  # three blocks
    keeper = left.blocks.keeper
    left.blocks[1]  # wherever the check of types has left it
    for number, coming in ((2, None), (1, 0), (0, None), (1, 2), (2, None), (0, 1), (2, None)):
        block = left.blocks[number]
        assert block is left.blocks.parts[number]
        assert mapped(left) == [other != number for other in range(3)]
        assert (keeper.coming and keeper.coming[0]) == coming


def test_it_is_proven_like_any_model(tmp_path):
    toy.fresh("llama-gqa").hf.save_pretrained(tmp_path)
    assert edgewise.load(tmp_path, offload="disk", device="cpu").graph.n_layers == 2


def test_what_is_left_in_files_has_their_dtype(tmp_path):
    toy.fresh(dtype=torch.bfloat16).hf.save_pretrained(tmp_path)
    assert edgewise.load(tmp_path, offload="disk", device="cpu").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"files hold torch.bfloat16.*can't be torch.float32"):
        edgewise.load(tmp_path, offload="disk", device="cpu", dtype="float32")


def test_there_is_one_place_to_leave_them(tmp_path):
    with unchecked(), pytest.raises(ConfigError, match="must be 'disk'"):
        edgewise.load(tmp_path, offload="memory")


def test_commands_leave_weights_on_disk(home, tmp_path, capsys):
    left, flags = tmp_path / "left", ("--offload", "disk", "--device", "cpu")
    assert cli.main(commands.discover(home, left, *flags, method="eap")) == 0
    for command in ("evaluate", "curve"):
        assert cli.main([command, str(left), *flags, "--quiet"]) == 0
    assert Circuit.load(left) == Circuit.load(home / "eap")
    ours, theirs = (Report.load(run).kl for run in (left, home / "eap"))
    assert ours == theirs
    assert cli.main(["evaluate", str(left), *flags, "--shards", "2"]) == 2
    assert "not both" in capsys.readouterr().err


def test_on_disk_or_shared(tmp_path):
    with pytest.raises(ConfigError, match="left on disk or shared by 2 processes, not both"):
        edgewise.load(tmp_path, offload="disk", shards=2)
