"""The command line: what a user types, what is printed, what is left in the folder."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from commands import STEPS, discover, listing, refused, without
from edgewise import attention, cli
from edgewise.circuit import Circuit
from edgewise.export import import_circuit
from edgewise.patterns import busiest
from edgewise.report import Report
from edgewise.runs import read_config
from edgewise.scores import EdgeScores
from edgewise.tasks.samples import SAMPLES

# From a model to a circuit and back


def test_a_run_leaves_a_folder_that_says_it_all(home):
    run = home / "edge-pruning"
    assert listing(run) == {
        *(".lock", "config.json", "metrics.jsonl", "report.json", "attention.json"),
        *("scores.safetensors", "circuit.json"),
        *("checkpoint/8.safetensors", "checkpoint/12.safetensors"),
    }
    config = read_config(run)
    assert config["model"]["name"] == str(home / "model")
    assert config["task"]["jsonl"] == str(home / "letters.jsonl")
    assert config["method"]["name"] == "edge-pruning"
    assert (config["method"]["edges"], config["method"]["density"]) == (30, None)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(1, STEPS + 1))
    circuit, report = Circuit.load(run), Report.load(run)
    assert len(circuit) == report.edges == 30
    assert set(report.rows) == {"circuit", "full", "empty", "random", "eap"}
    assert (report.split, report.n_prompts) == ("test", 3)
    assert report.metric("kl", "full") == pytest.approx(0, abs=1e-6)
    patterns = attention.load(run)
    assert len(patterns) == 2
    assert {head for one in patterns for head in one.heads} == set(busiest(circuit))


def test_eap_is_not_its_own_baseline(home):
    assert "eap" not in Report.load(home / "eap").rows


def test_the_same_command_again_prints_the_same_result(home, capsys, monkeypatch):
    monkeypatch.setattr("edgewise.cli.discover.measure", None)  # no need to measure again
    before = {name: (home / "edge-pruning" / name).read_bytes() for name in ("circuit.json",)}
    assert cli.main([*discover(home, home / "edge-pruning"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == Report.load(home / "edge-pruning").to_json()
    assert found["edges"] == 30
    assert found["method"] == "edge-pruning"
    assert (home / "edge-pruning" / "circuit.json").read_bytes() == before["circuit.json"]


def test_a_page_is_written(home, tmp_path, capsys):
    runs = [str(home / "edge-pruning"), str(home / "eap")]
    assert cli.main(["view", runs[0], "--out", str(tmp_path / "a.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "a.html"), "edges": 30}
    assert cli.main(["view", runs[0], "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "circuit.html")
    assert cli.main(["view", *runs, "--out", str(tmp_path / "b.html")]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("a.html", "b.html")]
    assert all(page.startswith("<!") for page in pages)
    assert pages[0] != pages[1]


def test_what_a_person_sees(home, tmp_path, capsys):
    argv = discover(home, tmp_path / "run")
    argv.remove("--quiet")
    assert cli.main(argv) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == f"loading {home / 'model'}"
    assert lines[1].startswith(f"model    {home / 'model'}: 2 layers of 4 heads, 82 edges, float32")
    assert lines[2] == "task     letters: 4 train, 1 validation, 3 test prompts"
    assert lines[3] == "         'a and b: b to ' -> 'a'"
    assert lines[4] == "         'c and d: e to '"
    assert lines[5].startswith("method   edge-pruning: edges=30, steps=12, ")
    assert lines[6] == f"out      {tmp_path / 'run'} (new)"
    assert lines[7] == "the model answers 0 of 3 test prompts as the task expects (0%)"
    assert "warning: that is less than 60%: a circuit does what the model does" in said.err
    assert "letters, test: 3 prompts, interchange ablation" in said.out
    assert lines[-1] == f"    edgewise view {tmp_path / 'run'}"
    assert "training 12/12  loss " in said.err
    assert "attribution 4/4" in said.err
    assert "EAP of as many edges 4/4" in said.err
    assert "evaluating 1/1" in said.err
    assert cli.main(argv) == 0
    said = capsys.readouterr()
    assert "(finished)" in said.out
    assert "the model answers" not in said.out


def test_json_has_stdout_for_itself(home, tmp_path, capsys):
    argv = [*discover(home, tmp_path / "run", method="eap"), "--json"]
    argv.remove("--quiet")
    assert cli.main(argv) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["out"] == str(tmp_path / "run")
    assert found["report"]["rows"]["circuit"]["edges"] == 30
    assert "task     letters" in said.err


def test_method_flags_are_each_methods_own(home, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main([*discover(home, tmp_path / "run", method="eap"), "--spread", "1"])
    assert done.value.code == 2
    assert "--spread" in capsys.readouterr().err
    assert cli.main([*discover(home, tmp_path / "run", method="eap"), "--order", "value"]) == 0
    assert read_config(tmp_path / "run")["method"]["order"] == "value"


def other(home, out, method, *flags):
    """A command of a method that has neither steps nor, perhaps, a size."""
    named = ("--model", str(home / "model"), "--task", str(home / "letters.jsonl"))
    return ["discover", *named, "--method", method, "--out", str(out), "--quiet", *flags]


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("acdc", ("--threshold", "0.1", "--prompts", "2", "--trials", "16")),
        ("exact", ("--edges", "20", "--metric", "kl")),
        ("magnitude", ("--edges", "20")),
        ("random", ("--edges", "20")),
    ],
)
def test_other_methods_leave_the_same_folder(home, tmp_path, capsys, method, flags):
    assert cli.main([*other(home, tmp_path / "run", method, *flags), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    circuit = Circuit.load(tmp_path / "run")
    assert found["method"] == circuit.provenance["method"]["name"] == method
    assert found["edges"] == len(circuit) == Report.load(tmp_path / "run").edges > 0
    assert method == "acdc" or len(circuit) == 20


@pytest.mark.filterwarnings("default:acdc. none of the circuit's 0 edges")
def test_a_circuit_without_edges_is_measured(home, tmp_path, capsys):
    assert cli.main(other(home, tmp_path, "acdc", "--threshold", "1000", "--prompts", "1")) == 0
    assert "warning: acdc: none of the circuit's 0 edges lies on a path" in capsys.readouterr().err
    report = Report.load(tmp_path)
    assert report.edges == 0
    assert "eap" not in report.rows
    assert report.metric("kl") == report.metric("kl", "empty")


@pytest.mark.filterwarnings("default:.*none of the circuit's 1 edges")
def test_a_circuit_without_a_path_is_saved_and_is_the_corrupted_run(home, tmp_path, capsys):
    argv = without(discover(home, tmp_path), ["--edges"])
    assert cli.main([*argv, "--edges", "1"]) == 0
    said = capsys.readouterr().err
    assert "warning: edge-pruning: none of the circuit's 1 edges lies on a path from" in said
    assert f"ask for more edges or more steps (now {STEPS})" in said
    assert len(Circuit.load(tmp_path)) == 1
    report = Report.load(tmp_path)
    assert (report.edges, report.edges_alive) == (1, 0)
    assert report.metric("kl") == report.metric("kl", "empty")
    assert cli.main(["evaluate", str(tmp_path), "--quiet"]) == 0
    assert Report.load(tmp_path) == report


def test_evaluating_again_gives_the_same_report(home, capsys):
    run = home / "edge-pruning"
    before = Report.load(run)
    (run / "report.json").unlink()
    assert cli.main(["evaluate", str(run), "--json"]) == 0
    assert Report.load(run).to_json() == before.to_json() == json.loads(capsys.readouterr().out)


def test_evaluating_on_other_prompts_leaves_the_runs_report(home, tmp_path, capsys):
    run = home / "edge-pruning"
    before = (run / "report.json").read_bytes()
    assert cli.main(["evaluate", str(run), "--split", "validation", "--quiet"]) == 0
    assert "letters, validation: 1 prompts" in capsys.readouterr().out
    other = ("--task", str(home / "others.jsonl"), "--out", str(tmp_path / "other.json"))
    assert cli.main(["evaluate", str(run), *other]) == 0
    report = Report.load(tmp_path / "other.json")
    assert (report.task, report.n_prompts, report.edges) == ("others", 2, 30)
    assert cli.main(["evaluate", str(run), "--dtype", "bfloat16"]) == 0
    assert cli.main(["evaluate", str(run), "--seed", "5"]) == 0
    assert cli.main(["evaluate", str(run), "--ablation", "zero"]) == 0
    assert (run / "report.json").read_bytes() == before


def test_evaluating_another_cut_of_a_runs_ranking(home, tmp_path, capsys):
    run, file = home / "edge-pruning", tmp_path / "report.json"
    before = (run / "report.json").read_bytes()
    assert cli.main(["evaluate", str(run), "--density", "0.3", "--out", str(file)]) == 0
    report = Report.load(file)
    assert report.edges == 25
    alive = EdgeScores.load(run).top(25).alive
    assert report.edges_alive == alive.sum()
    assert cli.main(["evaluate", str(run), "--edges", "20"]) == 0
    assert (run / "report.json").read_bytes() == before
    capsys.readouterr()
    assert "--edges 0: it must be at least 1" in refused(
        capsys, ["evaluate", run, "--edges", "0", "--quiet"]
    )


def test_comparing_runs(home, tmp_path, capsys):
    runs = [str(home / "edge-pruning"), str(home / "eap")]
    assert cli.main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert "exact match" in said
    assert f"{runs[0]} and {runs[1]} share" in said
    assert cli.main(["compare", *runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["runs"]) == runs
    assert found["runs"][runs[0]]["seconds"] > 0
    bare = shutil.copytree(home / "eap", tmp_path / "bare")
    (bare / "report.json").unlink()
    assert cli.main(["compare", str(bare), *runs, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["runs"]) == [str(bare), *runs]
    shared = Circuit.load(runs[0]) & Circuit.load(runs[1])
    assert found["overlaps"][0]["intersection"] == len(shared)


@pytest.mark.parametrize("form", ["eap-ig", "csv", "graphml"])
def test_an_exported_circuit_comes_back(home, tmp_path, capsys, form):
    circuit = Circuit.load(home / "edge-pruning")
    out = tmp_path / "exported"
    argv = ["export", str(home / "edge-pruning"), "--format", form, "--out", str(out)]
    assert cli.main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "format": form, "edges": 30}
    assert import_circuit(out, circuit.graph, form) == circuit


def test_exports_lie_beside_the_circuit_unless_told_otherwise(home, tmp_path):
    shutil.copy(home / "eap" / "circuit.json", tmp_path)
    assert cli.main(["export", str(tmp_path / "circuit.json"), "--format", "dot"]) == 0
    assert (tmp_path / "circuit.dot").read_text().startswith("digraph")


def test_a_model_that_mib_does_not_have_is_refused(home, tmp_path, capsys):
    argv = ["export", home / "eap", "--format", "mib", "--out", tmp_path / "mib"]
    assert "MIB has no model of 2 layers" in refused(capsys, argv)
    assert not (tmp_path / "mib").exists()


# Interrupted


# A command that ends like `kill -9` at the step, or before the checkpoint, that is named.
KILLED = """
import os, signal, sys
from edgewise import cli, runs

moment, at, argv = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
append, replace = runs.RunFolder.append, os.replace

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def append_or_die(folder, record):
    append(folder, record)
    if moment == "step" and record["step"] == at:
        die()

def replace_or_die(source, target):
    if moment == "checkpoint" and str(target).endswith(f"{at}.safetensors"):
        die()
    replace(source, target)

runs.RunFolder.append, os.replace = append_or_die, replace_or_die
sys.exit(cli.main(argv))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_killed_and_resumed_is_uninterrupted_bit_for_bit(home, tmp_path, capsys):
    run, whole = tmp_path / "run", home / "edge-pruning"
    argv = discover(home, run)
    for moment, at in (("step", "6"), ("checkpoint", "8")):
        command = [sys.executable, "-c", KILLED, moment, at, *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert "checkpoint/4.safetensors" in listing(run)
    assert any(name.endswith(".tmp") for name in listing(run))
    argv.remove("--quiet")
    costs = ["--cache-gb", "0", "--checkpoint-every", "6"]  # all else that differs is refused
    assert cli.main([*without(argv, costs), *costs]) == 0
    assert f"{run} (goes on from step 4)" in capsys.readouterr().out
    assert np.array_equal(EdgeScores.load(run).values, EdgeScores.load(whole).values)
    assert Circuit.load(run) == Circuit.load(whole)
    assert Report.load(run) == Report.load(whole)
    names = {"checkpoint/8.safetensors": "checkpoint/6.safetensors"}
    assert listing(run) == {names.get(name, name) for name in listing(whole)}

    def records(folder):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [{**json.loads(line), "seconds": None} for line in lines]

    assert records(run) == records(whole)


def test_control_c_says_how_to_go_on(home, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgewise.cli.discover.discover", interrupted)
    assert cli.main([*discover(home, tmp_path / "a run"), "--overwrite"]) == 130
    said = capsys.readouterr().err
    assert f"--out '{tmp_path / 'a run'}'" in said
    assert "to go on from the last checkpoint, type\n    edgewise discover --model" in said
    assert "--overwrite" not in said


# Looking around


def test_models_and_tasks_are_listed(capsys):
    assert cli.main(["models"]) == 0
    assert "smollm2-135m" in capsys.readouterr().out
    assert cli.main(["tasks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["tasks"]
    assert set(found) == set(SAMPLES)
    assert not any("Raises" in text for text in found.values())
    assert cli.main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert all(text in listed for sample in SAMPLES.values() for text in sample)
    assert cli.main(["tasks", "ioi"]) == 0
    assert "IOI" in (said := capsys.readouterr().out)
    assert SAMPLES["ioi"].corrupted in said


def test_a_model_is_checked(home, capsys):
    assert cli.main(["models", "--check", str(home / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["type"], found["layers"], found["edges"]) == ("llama", 2, 82)


def test_several_answers_are_shown_and_counted(home, tmp_path, capsys):
    row = {
        "clean": "a and b: b to <predict>a</predict>",
        "corrupted": "b and c: c to <predict>b</predict>",
        "answers": ["a", "e"],
        "distractors": ["b", "c", "d", "f"],
        "split": "train",
    }
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    assert cli.main(["tasks", str(file), "--model", str(home / "model"), "--show", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("-> 'a' or 'e', not 'b', 'c', 'd', 1 more")


def test_a_tasks_prompts_are_shown_token_by_token(home, capsys):
    argv = ["tasks", str(home / "letters.jsonl"), "--model", str(home / "model"), "--show", "1"]
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "letters: 4 train, 1 validation, 3 test"
    assert lines[2].split() == ["clean", "corrupted"]
    assert lines[3].split() == ["*", "a", "c"]
    assert lines[-1].endswith("-> 'a', not 'b'")
    assert cli.main([*argv, "--json"]) == 0
    (example,) = json.loads(capsys.readouterr().out)["examples"]
    assert "".join(example["clean"]) == "a and b: b to "
    assert example["predicts"] == {"13": "a"}
