"""Several processes find what one finds, and end together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import processes
from edgewise.circuit import Circuit
from edgewise.runs import RunFolder, differences, read_config

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")
SEVERAL = [(2, 0), (2, 1), (4, 0), (4, 3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `processes` leaves."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, processes.__file__, str(folder)]
    path = os.pathsep.join([str(Path(processes.__file__).parent), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return folder


def said(root: Path, name: str, rank: int = 0) -> dict:
    return json.loads((root / name / f"{rank}.json").read_text())


def codes(root: Path, name: str) -> list[int]:
    return json.loads((root / name / "codes.json").read_text())


@pytest.mark.parametrize(("several", "rank"), SEVERAL)
@pytest.mark.parametrize("method", processes.METHODS)
def test_gates_and_circuit(method, several, rank, root):
    """Batches of 2 and 3 prompts leave some of 4 processes without one."""
    one, found = said(root, "1"), said(root, f"{several}", rank)
    np.testing.assert_allclose(found["scores"][method], one["scores"][method], atol=1e-5)
    assert found["edges"][method] == one["edges"][method]


@pytest.mark.parametrize(("several", "rank"), SEVERAL)
def test_report(several, rank, root):
    one, found = said(root, "1")["report"], said(root, f"{several}", rank)["report"]
    assert differences(rounded(one), rounded(found)) == {}
    assert len(found["samples"]) == 3


def rounded(value):
    """JSON values with their numbers to six digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return {str(number): rounded(inner) for number, inner in enumerate(value)}
    return f"{value:.5e}" if isinstance(value, float) else value


@pytest.mark.parametrize(("several", "rank"), SEVERAL)
def test_mean_ablation(several, rank, root):
    found = said(root, f"{several}", rank)["mean"]
    np.testing.assert_allclose(found, said(root, "1")["mean"], atol=1e-5)


@pytest.mark.parametrize("several", [2, 4])
def test_all_return_the_same_bits_and_the_main_one_writes(several, root):
    first, *others = (said(root, f"{several}", rank) for rank in range(several))
    assert all(other == first for other in others)
    for method in processes.METHODS:
        written = Circuit.load(root / f"out {several}" / method)
        assert list(written.edges) == first["edges"][method]
    folder = root / f"out {several}" / "budget"
    steps = [record["step"] for record in RunFolder(folder, read_config(folder)).records()]
    assert steps == list(range(1, processes.STEPS + 1))


def test_a_killed_process_ends_the_others_with_the_reason(root):
    assert codes(root, "killed") == [0, -signal.SIGKILL]
    text = said(root, "killed")["said"]
    assert text.startswith("another process of this run ended or didn't answer (")
    assert "gloo/" not in text
    assert text.endswith("goes on from the last checkpoint")


def test_its_run_goes_on_in_another_number_of_processes(root):
    found, whole = said(root, "resumed"), said(root, "1")
    np.testing.assert_allclose(found["scores"], whole["scores"]["budget"], atol=1e-5)
    assert found["history"] == processes.STEPS
    config = read_config(root / "out killed" / "run")
    checkpoints = (root / "out killed" / "run" / "checkpoint").glob("*")
    assert config["method"]["cache_gb"] == 0
    assert {file.stem for file in checkpoints} == {"15", "20"}


def test_what_is_refused_is_refused_in_all(root):
    main, other = said(root, "refused")["said"], said(root, "refused", 1)["said"]
    assert "holds another run" in main[0]
    assert "the main process has stopped" in other[0]
    assert "another process was given another run" in main[1]
    assert "process 1 was given another run than process 0 (seed 1, not 0)" in other[1]


# Shared weights


@pytest.mark.parametrize("several", [2, 4])
def test_shared_weights_find_the_same(several, root):
    """Two share them; of four, two and two."""
    one, found = said(root, "1"), said(root, f"sharded {several}", several - 1)
    np.testing.assert_allclose(found["scores"], one["scores"]["budget"], atol=1e-5)
    assert differences(rounded(one["report"]), rounded(found["report"])) == {}
    for name, values in found["others"].items():
        np.testing.assert_allclose(values, one["scores"][name], atol=1e-5)


@pytest.mark.parametrize("several", [2, 4])
def test_gradients_and_fingerprints_of_shared_weights(several, root):
    """To the bit, in both precisions, of blocks of every kind."""
    for rank in range(several):
        found = said(root, f"sharded {several}", rank)["differ"]
        assert len(found) == 8
        assert {name: same for name, same in found.items() if not all(same)} == {}


def test_a_process_holds_its_slice_of_each_matrix(root):
    held = (said(root, "sharded 2", rank)["held"] for rank in range(2))
    for (mine, whole), (other, _) in zip(*held, strict=True):
        assert mine + other == whole
        assert 0 < mine < whole


def test_weights_are_shared_evenly_or_not(root):
    for several in (2, 4):
        text = said(root, f"sharded {several}")["refused"]
        assert f"weights can't be shared by 3 of {several} processes" in text


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for memory")
def test_loading_holds_no_more_than_a_share_and_a_block_or_two(root):
    """A quarter of twelve blocks, one or two blocks, what is around them, and some slack."""
    fingerprint = json.loads((root / "fingerprint.json").read_text())
    for rank in range(4):
        found = said(root, "loaded", rank)
        assert found["fingerprint"] == fingerprint
        assert found["size"] > 40e6
        assert found["grew"] < 0.7 * found["size"], rank
