"""A search that is interrupted or killed ends as if it had not been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from edgewise.circuit import Circuit
from edgewise.discovery import discover
from searches import BUDGET, LAGRANGIAN, STEPS, TASK, Stop, lines, records, stop_after, values


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
    assert [dict(record) for record in found.history] == lines(broken)
    assert Circuit.load(broken) == Circuit.load(whole) == found.circuit


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


def test_without_a_checkpoint_that_can_be_read_it_begins_anew(tmp_path):
    model, broken = tiny.model("gpt2"), tmp_path / "broken"
    whole = discover(model, TASK, BUDGET, out=tmp_path / "whole")
    with pytest.raises(Stop):
        discover(model, TASK, BUDGET, out=broken, progress=stop_after(11))
    for file in (broken / "checkpoint").iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is skipped, it can't be read"):
        found = discover(model, TASK, BUDGET, out=broken)
    assert values(broken) == values(tmp_path / "whole")
    assert records(broken) == records(tmp_path / "whole")
    assert [one["step"] for one in found.history] == [one["step"] for one in whole.history]


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
