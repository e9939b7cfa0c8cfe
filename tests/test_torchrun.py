"""The command line under `torchrun`: processes that share prompts and weights; one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import commands
from edgewise import cli
from edgewise.circuit import Circuit
from edgewise.scores import EdgeScores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks for children in /proc"),
]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
FLAGS = ("--device", "cpu", "--precision", "model")


def started(processes: int, argv: list[str]) -> subprocess.Popen:
    command = [*TORCHRUN, str(processes), "-m", "edgewise", *argv]
    path = os.pathsep.join(sys.path)
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_find_and_report_what_one_does(home, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert cli.main(commands.discover(home, one, *FLAGS)) == 0
    flags = (*FLAGS, "--shards", "2", "--memory", "0.001", "--json")
    job = started(2, commands.discover(home, two, *flags))
    said, problems = job.communicate(timeout=600)
    assert job.returncode == 0, problems
    assert json.loads(said)["out"] == str(two)  # said once
    assert Circuit.load(two) == Circuit.load(one)
    ours, theirs = (EdgeScores.load(folder).values for folder in (one, two))
    np.testing.assert_allclose(theirs, ours, atol=1e-3)  # in float32
    reports = [json.loads((folder / "report.json").read_text()) for folder in (one, two)]
    kls = [report["rows"]["circuit"]["metrics"]["kl"]["mean"] for report in reports]
    assert kls[1] == pytest.approx(kls[0], rel=1e-4)
    job = started(2, ["evaluate", str(two), "--device", "cpu", "--json"])
    said, problems = job.communicate(timeout=600)
    assert job.returncode == 0, problems
    assert json.loads(said)["rows"]["circuit"]["metrics"]["kl"]["mean"] == pytest.approx(kls[0])


def test_a_killed_process_ends_the_job_and_the_run_goes_on_alone(home, tmp_path):
    run, steps = tmp_path / "run", ("--steps", "400", "--cache-gb", "0")
    argv = commands.discover(home, run, *FLAGS, *steps)
    job = started(2, argv)
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 10:
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.05)
    os.kill(int(children(job.pid)[1]), signal.SIGKILL)
    _, problems = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "Signal 9 (SIGKILL)" in problems
    assert not (run / "circuit.json").exists()
    assert cli.main(argv) == 0
    records = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert records == list(range(1, 401))
    assert Circuit.load(run)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_other_commands_are_one_process(home):
    job = started(2, ["view", str(home / "eap")])
    _, problems = job.communicate(timeout=300)
    assert job.returncode != 0
    assert "`edgewise view` is one process: start it without torchrun" in problems
