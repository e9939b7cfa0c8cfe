"""`discover` as a user meets it: folders, records, refusals."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
import toy
from edgewise.circuit import Circuit
from edgewise.discovery import (
    EAP,
    EAPIG,
    METHODS,
    ExactPatching,
    Magnitude,
    Method,
    Random,
    discover,
)
from edgewise.discovery.found import DENSITY
from edgewise.discovery.search import describe
from edgewise.errors import ConfigError, DataError, NonFiniteError, RunError
from edgewise.runs import RunFolder, read_config
from edgewise.scores import EdgeScores
from edgewise.tasks import Task
from searches import BUDGET, LAGRANGIAN, STEPS, TASK, Stop, lines, records, stop_after, values
from unchecked import unchecked

RECORD = {"step", "loss", "kl", "density", "target", "seconds"}
SHOWN = RECORD | {"phase", "steps", "steps_per_second", "seconds_left"}


# Folders


def test_a_finished_run_is_returned_without_work(tmp_path):
    model, seen = tiny.model("gpt2"), []
    first = discover(model, TASK, BUDGET, out=tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    again = discover(model, TASK, BUDGET, out=tmp_path, progress=seen.append)
    assert seen == []
    assert again.circuit == first.circuit
    np.testing.assert_array_equal(again.scores.values, first.scores.values)
    assert again.history == tuple(dict(record) for record in first.history)
    assert again.seconds == first.seconds > 0
    after = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert {f: t for f, t in after.items() if f.name != ".lock"} == {
        f: t for f, t in before.items() if f.name != ".lock"
    }


@pytest.mark.parametrize(
    "method", [EAP(density=0.5), EAPIG(density=0.5, steps=2), Magnitude(density=0.5)]
)
def test_attribution_is_kept_too(method, tmp_path):
    model, seen = tiny.model("gpt2"), []
    first = discover(model, TASK, method, out=tmp_path)
    again = discover(model, TASK, method, out=tmp_path, progress=seen.append)
    assert again.circuit == first.circuit
    assert (again.history, seen) == ((), [])


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"method": replace(BUDGET, lr=0.1)}, r"method\.lr +0\.15 there, 0\.1 now"),
        ({"method": EAP(density=0.4)}, r"method\.name"),
        ({"seed": 1}, "seed +0 there, 1 now"),
        ({"ablation": "zero"}, "ablation +'interchange' there, 'zero' now"),
        ({"task": toy.task(9)}, r"task\.fingerprint"),
        ({"model": toy.fresh("gpt2-one-head")}, r"model\.weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_in_its_folder_is_refused(changes, names, tmp_path):
    given = {"model": tiny.model("gpt2"), "task": TASK, "method": BUDGET}
    with pytest.raises(Stop):
        discover(**given, out=tmp_path, progress=stop_after(3))
    with pytest.raises(RunError, match=names):
        discover(**{**given, **changes}, out=tmp_path)
    assert len(records(tmp_path)) == 3


def test_overwriting_starts_again(tmp_path):
    model, method = tiny.model("gpt2"), replace(BUDGET, steps=3)
    discover(model, TASK, BUDGET, out=tmp_path)
    steps = []
    discover(
        model,
        TASK,
        method,
        out=tmp_path,
        overwrite=True,
        progress=lambda r: steps.append(r["step"]),
    )
    assert steps[-3:] == [1, 2, 3]
    assert len(records(tmp_path)) == 3
    assert read_config(tmp_path)["method"]["steps"] == 3


def test_what_a_folder_says_of_its_run(tmp_path):
    model = tiny.model("gpt2")
    found = discover(model, TASK, BUDGET, out=tmp_path, seed=7, ablation="zero")
    config = read_config(tmp_path)
    assert config["method"] == {"name": "edge-pruning", **vars(BUDGET)}
    assert config["task"] == {"task": "toy", "name": "toy", "fingerprint": TASK.fingerprint()}
    assert (config["seed"], config["ablation"]) == (7, "zero")
    assert config["search_dtype"] == "float32"
    assert config["model"]["model_type"] == "gpt2"
    assert set(config["versions"]) == {"edgewise", "torch", "transformers", "python"}
    for saved in (Circuit.load(tmp_path), EdgeScores.load(tmp_path)):
        assert saved.provenance["method"] == config["method"]
        assert saved.provenance["seconds"] == found.seconds
        assert saved.provenance["peak_bytes"] > 0
    assert EdgeScores.load(tmp_path).top(len(found.circuit)) == found.circuit


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    discover(tiny.model("gpt2"), TASK, BUDGET)
    assert list(tmp_path.iterdir()) == []


# Records


@pytest.mark.parametrize("method", [BUDGET, LAGRANGIAN], ids=["budget", "lagrangian"])
def test_every_step_has_a_record(method, tmp_path):
    seen = []
    found = discover(tiny.model("gpt2"), TASK, method, out=tmp_path, progress=seen.append)
    training = [record for record in seen if record["phase"] == "training"]
    assert [set(record) for record in training] == [SHOWN] * STEPS
    assert [record["step"] for record in training] == list(range(1, STEPS + 1))
    assert {record["steps"] for record in training} == {STEPS}
    assert [set(record) for record in lines(tmp_path)] == [RECORD] * STEPS
    assert tuple(lines(tmp_path)) == tuple(dict(record) for record in found.history)
    for record in training:
        assert all(math.isfinite(record[name]) for name in SHOWN - {"phase"})
        assert 0 <= record["density"] <= 1
        assert record["kl"] >= 0
        assert record["steps_per_second"] > 0
        assert record["seconds_left"] >= 0
    assert training[-1]["seconds_left"] == 0
    seconds = [record["seconds"] for record in training]
    assert seconds == sorted(seconds)
    assert found.seconds == seconds[-1]
    attribution = [record for record in seen if record["phase"] == "attribution"]
    assert len(attribution) == (3 if method is BUDGET else 0)


def test_seconds_leave_interruptions_out(tmp_path):
    """They go on from the checkpoint's."""
    model = tiny.model("gpt2")
    with pytest.raises(Stop):
        discover(model, TASK, BUDGET, out=tmp_path, progress=stop_after(7))
    _, _, state = RunFolder(tmp_path, read_config(tmp_path)).load_checkpoint()
    found = discover(model, TASK, BUDGET, out=tmp_path)
    seconds = [record["seconds"] for record in found.history]
    assert seconds == sorted(seconds)
    assert seconds[4] <= state["seconds"] <= seconds[5]


# Numbers that are none


@pytest.mark.parametrize("method", [BUDGET, LAGRANGIAN], ids=["budget", "lagrangian"])
def test_a_loss_that_is_nan_ends_the_run_and_its_folder_stays_good(method, tmp_path):
    model, path = toy.fresh(), tmp_path / "run"
    weight = model.hf.transformer.ln_f.weight
    sound = weight.clone()

    def poison(record):
        if record["phase"] == "training" and record["step"] == 7:
            weight[0] = math.nan

    with pytest.raises(NonFiniteError, match="step 8: the loss became NaN") as caught:
        discover(model, TASK, method, out=path, progress=poison)
    assert f"checkpoint is in {path}." in str(caught.value)
    assert "lr (it is" in str(caught.value)
    folder = RunFolder(path, read_config(path))
    step, tensors, _ = folder.load_checkpoint()
    assert step == 5
    assert all(bool(torch.isfinite(t).all()) for t in tensors.values())
    assert len(folder.records()) == 7
    weight.copy_(sound)
    discover(model, TASK, method, out=path)
    discover(model, TASK, method, out=tmp_path / "whole")
    assert values(path) == values(tmp_path / "whole")


def test_a_gradient_that_is_nan_ends_the_run(monkeypatch):
    monkeypatch.setattr("edgewise.discovery.budget.project", lambda g, s: g * math.nan)
    with pytest.raises(NonFiniteError, match="step 1: the gradient became NaN") as caught:
        discover(tiny.model("gpt2"), TASK, BUDGET)
    assert "checkpoint" not in str(caught.value)


# How large


EDGES = [kind for kind in METHODS.values() if "edges" in {one.name for one in fields(kind)}]


@pytest.mark.parametrize("kind", EDGES)
def test_edges_alone_take_the_place_of_the_default_density(kind: type, tmp_path):
    """The run is that of a method which names no density, on the command line or here."""
    model, steps = tiny.model("gpt2"), {"steps": 2} if hasattr(kind, "steps") else {}
    method = kind(edges=60, **steps)
    assert kind().density == DENSITY
    found = discover(model, TASK, method, out=tmp_path)
    assert len(found.circuit) == 60
    recorded = read_config(tmp_path)["method"]
    assert (recorded["density"], recorded["edges"]) == (None, 60)
    again = discover(model, TASK, kind(density=None, edges=60, **steps), out=tmp_path)
    assert again.circuit == found.circuit


def test_the_default_density_is_recorded():
    recorded = describe(tiny.model("gpt2"), TASK, Random(), "zero", 0)["method"]
    assert recorded == {"name": "random", "density": 0.02, "edges": None}


def test_what_is_found_is_a_line_at_a_prompt():
    found = discover(tiny.model("gpt2"), TASK, BUDGET)
    assert "history" not in repr(found)
    assert len(repr(found)) < 150


# Other models


SIZED = (
    BUDGET,
    LAGRANGIAN,
    EAP(density=0.4),
    EAPIG(density=0.4),
    EAPIG(density=0.4, variant="activations"),
    ExactPatching(density=0.4, prompts=2),
    Random(density=0.4),
)


@pytest.mark.parametrize("method", SIZED)
@pytest.mark.parametrize("name", ["llama-gqa", "parallel", "post-norm"])
def test_families(name: str, method: Method):
    short = replace(method, steps=2) if hasattr(method, "steps") else method
    found = discover(tiny.model(name), TASK, short)
    assert len(found.circuit) == round(0.4 * found.circuit.graph.n_edges)


@pytest.mark.parametrize("embeddings", ["split", "free"])
def test_embeddings(embeddings):
    model = tiny.model("gpt2", embeddings)
    for method in SIZED:
        found = discover(model, TASK, method)
        assert len(found.circuit) == round(0.4 * model.graph.n_edges)


# What is refused


def test_what_is_refused_before_any_work(tmp_path):
    model, path = tiny.model("gpt2"), tmp_path / "run"
    with pytest.raises(DataError, match="split 'train' is empty"):
        discover(model, Task("toy", {"train": ()}, pad_id=0), BUDGET, out=path)
    with unchecked(), pytest.raises(ConfigError, match=r"ablation must be .* not 'noise'"):
        discover(model, TASK, BUDGET, out=path, ablation="noise")
    with pytest.raises(ConfigError, match="seed=-1: it must be 0 or more"):
        discover(model, TASK, BUDGET, out=path, seed=-1)
    assert not path.exists()


def test_what_is_no_model_and_no_task():
    model = tiny.model("gpt2")
    with unchecked():
        for task, said in (
            ("ioi", r"task is 'ioi', .* edgewise\.tasks\.make\('ioi', model\.tokenizer\)"),
            (Path("a.jsonl"), r"'a\.jsonl', .* edgewise\.Task\.from_jsonl\('a\.jsonl', model\.tok"),
            ([("a", "b")], r"task is a list, not a Task: .* edgewise\.Task\.from_pairs\("),
        ):
            with pytest.raises(ConfigError, match=said):
                discover(model, task, EAP())
        with pytest.raises(ConfigError, match=r"a GPT2LMHeadModel, not .* edgewise\.adapt\("):
            discover(model.hf, TASK, EAP())
