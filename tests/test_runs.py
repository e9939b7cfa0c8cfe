"""Run folders: what they keep, what they refuse, and what is left after a kill at any moment."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from edgewise import files, runtime
from edgewise.circuit import Circuit
from edgewise.errors import DiskError, NonFiniteError, RunError
from edgewise.graph import Graph
from edgewise.runs import RunFolder, differences, read_config
from edgewise.scores import EdgeScores

CONFIG = {
    "model": {"name": "tiny", "weights": "ab12", "dtype": "float32"},
    "task": {"task": "ioi", "seed": 0, "fingerprint": "cd34"},
    "method": {"name": "edge-pruning", "density": 0.02, "betas": (0.9, 0.999), "edges": None},
    "ablation": "interchange",
    "seed": 0,
    "versions": {"edgewise": "0.1.0", "torch": "2.13.0"},
}


def record(step):
    return {"step": step, "loss": 1 / (step + 1), "target": 0.02}


def tensors(step):
    generator = torch.Generator().manual_seed(step)
    return {"log_alpha": torch.randn(50, generator=generator), "rng": generator.get_state()}


def open_run(path, **given):
    return RunFolder.open(path, CONFIG, **given)


def listing(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


# Opening


def test_a_new_folder_holds_the_config_as_it_will_be_compared(tmp_path):
    folder = open_run(tmp_path / "runs" / "ioi")
    assert listing(folder.path) == [".lock", "config.json"]
    assert folder.config == read_config(folder.path)
    assert folder.config["format"] == "edgewise-run/1"
    assert folder.config["method"]["betas"] == [0.9, 0.999]
    assert folder.load_checkpoint() is None
    assert folder.records() == []
    assert not folder.finished


def test_the_same_config_goes_on(tmp_path):
    first = open_run(tmp_path)
    first.append(record(0))
    first.save_checkpoint(1, tensors(1), {})
    again = open_run(tmp_path)
    assert again.records() == [record(0)]
    assert again.load_checkpoint()[0] == 1


def test_another_config_is_refused_and_every_difference_named(tmp_path):
    open_run(tmp_path)
    method = CONFIG["method"] | {"density": 0.05, "edges": 7}
    model = {"name": "tiny", "weights": "ab12"}
    other = CONFIG | {"method": method, "model": model, "seed": 1, "versions": {}}
    with pytest.raises(RunError) as error:
        RunFolder.open(tmp_path, other)
    message = str(error.value)
    assert "method.density   0.02 there, 0.05 now" in message
    assert "method.edges     None there, 7 now" in message
    assert "model.dtype      'float32' there, None now" in message
    assert "seed             0 there, 1 now" in message
    assert "--overwrite" in message
    assert "versions" not in message


def test_other_versions_are_a_warning_only(tmp_path):
    open_run(tmp_path)
    other = CONFIG | {"versions": {"edgewise": "0.2.0", "torch": "2.13.0"}}
    with pytest.warns(UserWarning, match=r"other versions \(edgewise 0\.1\.0 -> 0\.2\.0\)"):
        RunFolder.open(tmp_path, other)
    assert read_config(tmp_path)["versions"]["edgewise"] == "0.1.0"


def test_differences_reach_into_nested_values():
    old = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": {"f": 1}}
    new = {"a": 1, "b": {"c": [1, 3]}, "e": 2, "g": 0}
    assert differences(old, new) == {
        "b.c": ([1, 2], [1, 3]),
        "e": ({"f": 1}, 2),
        "g": (None, 0),
    }


def test_overwrite_deletes_the_run_and_nothing_else(tmp_path):
    first = open_run(tmp_path)
    first.append(record(0))
    first.save_checkpoint(1, tensors(1), {})
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "report-validation.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    again = RunFolder.open(tmp_path, CONFIG | {"seed": 1}, overwrite=True)
    assert listing(tmp_path) == [".lock", "config.json", "notes.txt"]
    assert again.config["seed"] == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_programs_config_is_never_touched(tmp_path, overwrite):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(RunError, match="is no run folder"):
        open_run(tmp_path, overwrite=overwrite)
    assert listing(tmp_path) == ["config.json"]


def test_results_without_a_config_are_replaced_only_if_asked(tmp_path):
    Circuit.empty(Graph(1, 1, 1)).save(tmp_path)
    with pytest.raises(RunError, match=r"has no config\.json but circuit\.json"):
        open_run(tmp_path)
    open_run(tmp_path, overwrite=True)
    assert listing(tmp_path) == [".lock", "config.json"]


def test_a_corrupt_config_is_refused_unless_overwritten(tmp_path):
    open_run(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "edgew')
    with pytest.raises(RunError, match=r"config\.json is corrupt .*--overwrite"):
        open_run(tmp_path)
    assert open_run(tmp_path, overwrite=True).config == read_config(tmp_path)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "ioi").write_text("")
    with pytest.raises(RunError, match="ioi is a file"):
        open_run(tmp_path / "ioi")


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, _: place != tmp_path)
    with pytest.raises(RunError, match=f"you may not write to {tmp_path}$"):
        open_run(tmp_path / "new" / "run")


def test_reading_the_config_of_what_is_no_run(tmp_path):
    for path in (tmp_path, tmp_path / "missing", files.atomic_write(tmp_path / "file", "")):
        with pytest.raises(RunError, match="is no run folder"):
            read_config(path)


def test_space_is_asked_for_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 7, 3))
    with pytest.raises(DiskError, match="needs 1 MB"):
        open_run(tmp_path / "run", space=1_000_000)
    assert not (tmp_path / "run").exists()


def test_what_a_killed_write_left_is_swept_up(tmp_path):
    folder = open_run(tmp_path)
    folder.save_checkpoint(1, tensors(1), {})
    for name in (".config.json.0a1b.tmp", "checkpoint/.2.safetensors.0a1b.tmp", ".mine.tmp"):
        (tmp_path / name).write_text("half")
    open_run(tmp_path)
    left = [".lock", ".mine.tmp", "checkpoint/1.safetensors", "config.json"]
    assert listing(tmp_path) == left


# Metrics


def test_records_come_back_in_order_and_are_cut_at_a_step(tmp_path):
    folder = open_run(tmp_path)
    for step in range(5):
        folder.append(record(step))
    folder.truncate(3)
    assert folder.records() == [record(step) for step in range(3)]
    folder.append(record(3))
    assert [r["step"] for r in folder.records()] == [0, 1, 2, 3]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 4


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', '{"step": 2}', "{}\n", "\0\0\0\n", "[2]\n"])
def test_a_torn_last_line_is_ignored_and_cut_on_opening(tmp_path, torn):
    folder = open_run(tmp_path)
    folder.append(record(0))
    folder.append(record(1))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + torn.encode())
    assert folder.records() == [record(0), record(1)]
    open_run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_a_corrupt_line_before_the_last_is_named(tmp_path):
    folder = open_run(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step"\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is corrupt"):
        folder.records()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_record_holds_finite_numbers_only(tmp_path, value):
    folder = open_run(tmp_path)
    with pytest.raises(NonFiniteError, match="step 4: kl became"):
        folder.append({"step": 4, "loss": 0.0, "kl": value})
    assert folder.records() == []


# Results


def test_finishing_writes_results_that_are_read_without_torch(tmp_path):
    graph = Graph(2, 2, 1)
    scores = EdgeScores(graph, np.arange(graph.n_edges, dtype=np.float32))
    folder = open_run(tmp_path)
    folder.finish(scores, scores.top(5))
    assert folder.finished
    assert Circuit.load(tmp_path) == scores.top(5)
    assert np.array_equal(EdgeScores.load(tmp_path).values, scores.values)


def test_a_run_is_finished_once_its_circuit_is_there(tmp_path, monkeypatch):
    graph = Graph(1, 1, 1)
    folder = open_run(tmp_path)
    monkeypatch.setattr(
        Circuit, "save", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        folder.finish(EdgeScores(graph, np.zeros(graph.n_edges, np.float32)), Circuit.full(graph))
    assert not folder.finished


# A full disk


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_everything_earned(tmp_path, monkeypatch):
    folder = open_run(tmp_path)
    folder.append(record(0))
    folder.save_checkpoint(1, tensors(1), {"step": 1})
    before = {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)}
    graph = Graph(1, 1, 1)
    scores = EdgeScores(graph, np.zeros(graph.n_edges, np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", full)
        for write in (
            lambda: folder.save_checkpoint(2, tensors(2), {}),
            lambda: folder.finish(scores, Circuit.full(graph)),
            lambda: folder.truncate(0),
        ):
            with pytest.raises(DiskError, match="no space left"):
                write()
    assert {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)} == before
    assert open_run(tmp_path).load_checkpoint()[2] == {"step": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_full_disk_stops_the_metrics(tmp_path):
    folder = open_run(tmp_path)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"no space left while writing .*metrics\.jsonl"):
        folder.append(record(0))


# Processes


def test_processes_but_the_main_one_write_nothing(tmp_path, monkeypatch):
    main = open_run(tmp_path)
    main.save_checkpoint(1, tensors(1), {})
    before = listing(tmp_path)
    monkeypatch.setattr(runtime, "rank", lambda: 1)
    other = open_run(tmp_path)
    other.append(record(0))
    other.save_checkpoint(2, tensors(2), {})
    other.truncate(0)
    graph = Graph(1, 1, 1)
    other.finish(EdgeScores(graph, np.zeros(graph.n_edges, np.float32)), Circuit.full(graph))
    assert listing(tmp_path) == before
    monkeypatch.setattr(runtime, "number_from_main", lambda _: 1)
    assert other.load_checkpoint()[0] == 1


# Started once, because importing torch takes longer than all of the kills: it forks a writer, kills
# it at a random moment after a few steps, opens the folder as a resumed run does, and checks what
# is there.
KILLER = """
import json, os, random, signal, sys, time, warnings
import torch
from edgewise.errors import RunError
from edgewise.runs import RunFolder

warnings.simplefilter("error")
path, kills = sys.argv[1], int(sys.argv[2])
config = {"method": {"name": "test"}, "seed": 0}
random.seed(0)

def write(signal_step):
    folder = RunFolder.open(path, config)
    signal_step()
    found = folder.load_checkpoint()
    start = 0 if found is None else found[0]
    folder.truncate(start)
    step = start
    while True:
        folder.append({"step": step, "text": "x" * 200})
        step += 1
        folder.save_checkpoint(step, {"t": torch.full((2000,), float(step))}, {"step": step})
        signal_step()

steps, busy, least = [], 0, 0
for _ in range(kills):
    ours, theirs = os.pipe()
    writer = os.fork()
    if writer == 0:
        try:
            write(lambda: os.write(theirs, b"."))
        finally:
            os._exit(1)
    os.close(theirs)
    waited = random.randrange(4)
    for _ in range(1 + waited):
        assert os.read(ours, 1), "the writer failed by itself"
    least += waited
    time.sleep(random.uniform(0, 0.01))
    try:
        RunFolder.open(path, config).close()
    except RunError as error:
        busy += "another process is writing" in str(error)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    os.close(ours)
    folder = RunFolder.open(path, config)
    records, found = folder.records(), folder.load_checkpoint()
    folder.close()
    assert [record["step"] for record in records] == list(range(len(records)))
    if found is None:
        steps.append(0)
        continue
    step, tensors, state = found
    assert state == {"step": step}
    assert torch.equal(tensors["t"], torch.full((2000,), float(step)))
    assert step <= len(records) <= step + 1, (step, len(records))
    left = [name for name in os.listdir(os.path.join(path, "checkpoint"))]
    assert len(left) <= 2 and all(name.endswith(".safetensors") for name in left), left
    steps.append(step)
print(json.dumps({"steps": steps, "busy": busy, "least": least}))
"""


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_kill_at_any_moment_leaves_a_folder_to_go_on_from(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path / "run"), "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["steps"]) == 40
    assert found["steps"] == sorted(found["steps"])
    assert found["steps"][-1] >= found["least"] > 0  # each goes on from where the last one was
    assert found["busy"] == 40  # and meanwhile the folder was refused to a second process


def test_opening_twice_in_one_process_is_no_conflict(tmp_path):
    first = open_run(tmp_path)
    open_run(tmp_path).append(record(0))
    first.append(record(1))
    first.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_run(tmp_path).records()) == 2
