"""`discover` as a user meets it: folders, interruptions, precision, records, refusals."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

import tiny
import toy
from edgewise.circuit import Circuit
from edgewise.discovery import (
    EAP,
    EAPIG,
    EdgePruning,
    ExactPatching,
    Found,
    Magnitude,
    Method,
    Random,
    discover,
)
from edgewise.errors import ConfigError, DataError, NonFiniteError, RunError
from edgewise.runs import RunFolder, read_config
from edgewise.scores import EdgeScores
from edgewise.tasks import Task
from unchecked import unchecked

TASK = toy.task(8)
STEPS = 12
BUDGET = EdgePruning(
    density=0.4, steps=STEPS, batch_size=3, noise=1.0, checkpoint_every=5, precision="model"
)
LAGRANGIAN = replace(
    BUDGET, control="lagrangian", noise=0.0, init="open", init_log_alpha=0.5, nodes=True, lr=0.5,
    warmup=3, weight_decay=0.01, clip=0.5, sparsity_warmup=6,
)  # fmt: skip
RECORD = {"step", "loss", "kl", "density", "target", "seconds"}
SHOWN = RECORD | {"phase", "steps", "steps_per_second", "seconds_left"}


class Stop(Exception):
    """An interruption."""


def stop_after(step: int):
    """A `progress` that interrupts the training once it has saved that step's record."""

    def progress(record):
        if record["phase"] == "training" and record["step"] == step:
            raise Stop

    return progress


def values(path: Path) -> bytes:
    """The scores of a run folder, bit for bit."""
    return safetensors.numpy.load_file(path / "scores.safetensors")["values"].tobytes()


def records(path: Path) -> list[dict]:
    """Of a run folder, without the time, which no two runs share."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


# Interruptions


@pytest.mark.parametrize(
    ("method", "ablation"),
    [(BUDGET, "interchange"), (BUDGET, "mean"), (LAGRANGIAN, "interchange"), (LAGRANGIAN, "zero")],
    ids=["budget", "budget mean", "lagrangian", "lagrangian zero"],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been(method, ablation, tmp_path):
    """At a checkpoint, just before one, and after none but the first."""
    model, whole, broken = tiny.model("gpt2"), tmp_path / "whole", tmp_path / "broken"
    settings = {"ablation": ablation, "seed": 5}
    discover(model, TASK, method, out=whole, **settings)
    for step in (2, 9, 10, STEPS):
        with pytest.raises(Stop):
            discover(model, TASK, method, out=broken, progress=stop_after(step), **settings)
    found = discover(model, TASK, method, out=broken, **settings)
    assert values(broken) == values(whole)
    assert [record["step"] for record in records(broken)] == list(range(1, STEPS + 1))
    assert records(broken) == records(whole)
    assert [dict(record) for record in found.history] == read_lines(broken)
    assert Circuit.load(broken) == Circuit.load(whole) == found.circuit


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_torn_checkpoint_costs_the_steps_since_the_one_before(tmp_path):
    model = tiny.model("gpt2")
    discover(model, TASK, BUDGET, out=tmp_path / "whole")
    with pytest.raises(Stop):
        discover(model, TASK, BUDGET, out=tmp_path / "torn", progress=stop_after(11))
    newest = tmp_path / "torn" / "checkpoint" / "10.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    steps = []
    with pytest.warns(UserWarning, match="is skipped, it can't be read"):
        discover(
            model, TASK, BUDGET, out=tmp_path / "torn", progress=lambda r: steps.append(r["step"])
        )
    assert steps == list(range(6, STEPS + 1))
    assert values(tmp_path / "torn") == values(tmp_path / "whole")
    assert records(tmp_path / "torn") == records(tmp_path / "whole")


# Importing torch takes longer than all of the runs, so one process forks them. Each kills itself as
# it is about to open, rename, remove or lock something in its folder: the n-th time, n random.
KILLER = """
import json, os, random, signal, sys
import tiny, toy
from edgewise.discovery import EdgePruning, discover

root, settings = sys.argv[1], json.loads(sys.argv[2])
model, task = tiny.model("gpt2"), toy.task(8)
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "fcntl.lockf"}

def run(folder, method, ablation, last):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event in EVENTS and (event == "fcntl.lockf" or str(arguments[0]).startswith(folder)):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    discover(model, task, EdgePruning(**method), out=folder, seed=5, ablation=ablation)

def forked(*given):
    child = os.fork()
    if child == 0:
        try:
            run(*given)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status == 0

random.seed(1)
kills = {}
for name, (method, ablation) in settings.items():
    assert forked(os.path.join(root, name, "whole"), method, ablation, 0)
    for again in range(2):
        folder = os.path.join(root, name, f"killed {again}")
        kills[folder] = 0
        while not forked(folder, method, ablation, random.randrange(1, 30)):
            kills[folder] += 1
            assert kills[folder] < 100
print(json.dumps(kills))
"""


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path):
    given = {"budget": (BUDGET, "interchange"), "lagrangian": (LAGRANGIAN, "mean")}
    settings = {
        name: ({**vars(method), "checkpoint_every": 2}, ablation)
        for name, (method, ablation) in given.items()
    }
    command = [sys.executable, "-c", KILLER, str(tmp_path), json.dumps(settings)]
    path = os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) == 4
    assert sum(kills.values()) >= 20, kills
    for killed in map(Path, kills):
        whole = killed.parent / "whole"
        assert values(killed) == values(whole)
        assert [record["step"] for record in records(killed)] == list(range(1, STEPS + 1))
        assert records(killed) == records(whole)
        left = {str(file.relative_to(killed)) for file in killed.rglob("*") if file.is_file()}
        # the third newest stays if the kill came between the last checkpoint and its removal
        assert left - {"checkpoint/8.safetensors"} == {
            *("config.json", "metrics.jsonl", "scores.safetensors", "circuit.json", ".lock"),
            *("checkpoint/10.safetensors", "checkpoint/12.safetensors"),
        }


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
    assert [set(record) for record in read_lines(tmp_path)] == [RECORD] * STEPS
    assert tuple(read_lines(tmp_path)) == tuple(dict(record) for record in found.history)
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


# Precision


def hardware(monkeypatch: pytest.MonkeyPatch, multiplies_bfloat16: bool) -> None:
    where = "edgewise.discovery.search.multiplies_bfloat16"
    monkeypatch.setattr(where, lambda device: multiplies_bfloat16)


def searched_in(found: Found) -> str:
    return found.scores.provenance["search_dtype"]


AUTO = replace(BUDGET, precision="auto")


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa"])
@pytest.mark.parametrize("ablation", ["interchange", "mean"])
def test_a_search_in_bfloat16_finds_nearly_the_same(name, ablation, monkeypatch):
    hardware(monkeypatch, True)
    model = tiny.model(name)
    # EAP-IG ranks the many edges without effect of a random model by their rounding.
    start = {"init": "eap"}
    whole = discover(model, TASK, replace(BUDGET, **start), ablation=ablation)
    half = discover(model, TASK, replace(AUTO, **start), ablation=ablation)
    assert (searched_in(whole), searched_in(half)) == ("float32", "bfloat16")
    assert (model.dtype, model.hf.dtype) == (torch.float32, torch.float32)
    assert len(half.circuit) == len(whole.circuit)
    assert half.scores.values.dtype == np.float32
    assert np.corrcoef(half.scores.values, whole.scores.values)[0, 1] > 0.9
    assert not np.array_equal(half.scores.values, whole.scores.values)
    assert half.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=0.1)


def test_where_the_hardware_has_none_it_is_the_models(monkeypatch):
    hardware(monkeypatch, False)
    model = tiny.model("gpt2")
    found = discover(model, TASK, AUTO)
    assert searched_in(found) == "float32"
    np.testing.assert_array_equal(found.scores.values, discover(model, TASK, BUDGET).scores.values)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_another_dtype_is_the_users_choice(dtype, monkeypatch):
    hardware(monkeypatch, True)
    model = tiny.model("gpt2", dtype=dtype)
    assert searched_in(discover(model, TASK, AUTO)) == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("begun", [True, False], ids=["bfloat16", "float32"])
def test_a_search_goes_on_in_what_it_was_begun_in_on_any_machine(begun, monkeypatch, tmp_path):
    model, dtypes = tiny.model("gpt2"), {True: "bfloat16", False: "float32"}
    hardware(monkeypatch, begun)
    whole = discover(model, TASK, AUTO, out=tmp_path / "whole")
    with pytest.raises(Stop):
        discover(model, TASK, AUTO, out=tmp_path / "moved", progress=stop_after(7))
    assert read_config(tmp_path / "moved")["search_dtype"] == dtypes[begun]
    hardware(monkeypatch, not begun)
    with pytest.warns(UserWarning, match=rf"was begun in {dtypes[begun]}.*goes on as begun"):
        found = discover(model, TASK, AUTO, out=tmp_path / "moved")
    assert searched_in(found) == searched_in(whole) == dtypes[begun]
    assert values(tmp_path / "moved") == values(tmp_path / "whole")
    assert records(tmp_path / "moved") == records(tmp_path / "whole")
    again = discover(model, TASK, AUTO, out=tmp_path / "moved")  # finished: nothing to warn of
    assert again.circuit == whole.circuit
    with pytest.raises(RunError, match=r"method\.precision"):
        discover(model, TASK, BUDGET, out=tmp_path / "moved")
    discover(model, TASK, AUTO, out=tmp_path / "moved", overwrite=True)
    assert read_config(tmp_path / "moved")["search_dtype"] == dtypes[not begun]


def test_a_run_from_before_dtypes_were_recorded_goes_on(monkeypatch, tmp_path):
    model = tiny.model("gpt2")
    hardware(monkeypatch, False)
    with pytest.raises(Stop):
        discover(model, TASK, AUTO, out=tmp_path, progress=stop_after(7))
    config = read_config(tmp_path)
    del config["search_dtype"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert searched_in(discover(model, TASK, AUTO, out=tmp_path)) == "float32"


def test_attribution_is_in_the_models_dtype(monkeypatch):
    hardware(monkeypatch, True)
    assert searched_in(discover(tiny.model("gpt2"), TASK, EAP(density=0.5))) == "float32"


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
