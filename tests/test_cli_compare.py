"""`edgewise compare --config`: what a file asks for is run, gone on with, or refused at once."""

import json
from pathlib import Path

import pytest

import tiny_files
from edgewise import cli
from edgewise.circuit import Circuit
from edgewise.cli import config
from edgewise.discovery import EdgePruning
from edgewise.errors import ConfigError, RunError
from edgewise.report import Report
from edgewise.runs import read_config

EXAMPLE = Path(__file__).parent.parent / "examples" / "compare.toml"
METHODS = """
[[methods]]
name = "edge-pruning"
steps = 4
batch_size = 2
init_prompts = 2

[[methods]]
name = "eap"

[[methods]]
name = "eap"
label = "few"
edges = 9
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tiny model that spells, a task, and a comparison of them that was run once."""
    folder = tmp_path_factory.mktemp("home")
    tiny_files.folder(folder / "model", initializer_range=0.5)
    row = '{{"clean": "{0} and {1}: <predict>{0}</predict>", "split": "{2}", '
    row += '"corrupted": "{1} and {0}: <predict>{1}</predict>"}}\n'
    splits = ("train", "train", "test", "test")
    rows = [row.format("abcd"[i], "efgh"[i], split) for i, split in enumerate(splits)]
    (folder / "letters.jsonl").write_text("".join(rows))
    assert cli.main(compare(folder, folder / "runs", write(folder))) == 0
    return folder


def write(home, methods=METHODS, **changes):
    """A config file: a good one but for what is changed; None leaves a key out."""
    top = {"model": str(home / "model"), "task": str(home / "letters.jsonl"), "seed": 3}
    top |= {"densities": [0.2, 0.4]} | changes
    lines = [f"{key} = {json.dumps(value)}" for key, value in top.items() if value is not None]
    (home / "compare.toml").write_text("\n".join(lines) + methods)
    return home / "compare.toml"


def compare(home, out, file, *flags):
    return ["compare", "--config", str(file), "--out", str(out), "--quiet", *flags]


NAMES = ["edge-pruning-0.2", "edge-pruning-0.4", "eap-0.2", "eap-0.4", "few"]


def test_each_method_is_run_at_each_density_and_compared(home, capsys):
    runs = home / "runs"
    assert sorted(path.name for path in runs.iterdir()) == sorted(NAMES)
    n = Circuit.load(runs / "few").graph.n_edges
    sizes = [len(Circuit.load(runs / name)) for name in NAMES]
    assert sizes == [round(0.2 * n), round(0.4 * n), round(0.2 * n), round(0.4 * n), 9]
    asked = read_config(runs / "edge-pruning-0.4")
    assert (asked["method"]["steps"], asked["method"]["init_prompts"]) == (4, 2)
    assert {read_config(runs / name)["seed"] for name in NAMES} == {3}
    assert "eap" not in Report.load(runs / "edge-pruning-0.2").rows  # it is a run of its own
    before = {file: file.stat().st_mtime_ns for file in runs.rglob("*.json")}
    assert cli.main(compare(home, runs, write(home), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["runs"]) == [str(runs / name) for name in NAMES]
    for line in found["runs"].values():
        assert {"kl", "exact_match", "accuracy"} <= line["metrics"].keys()
        assert line["seconds"] > 0
        assert line["peak_bytes"] > 0
    assert len(found["overlaps"]) == 10
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("*.json")} == before


def test_what_is_missing_is_run_and_the_rest_reused(home, capsys):
    runs = home / "runs"
    before = Report.load(runs / "few")
    for name in ("circuit.json", "scores.safetensors", "report.json"):
        (runs / "few" / name).unlink()
    argv = compare(home, runs, write(home))
    argv.remove("--quiet")
    assert cli.main(argv) == 0
    said = capsys.readouterr().out
    assert "1/5 edge-pruning-0.2 (finished)\n" in said
    assert "5/5 few\n" in said
    assert "the model answers 0 of 2 test prompts" in said
    assert said.count("loading") == 1
    head = next(line for line in said.splitlines() if "alive" in line)
    assert head.split() == "edges alive density KL exact match accuracy seconds memory".split()
    assert "by chance: edges expected in both" in said
    assert Report.load(runs / "few") == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "model is missing"),
        ({"task": ""}, "task is missing"),
        ({"methods": ""}, "methods is missing"),
        ({"densties": [1]}, "no key densties; there can be model, task, train, validation, test"),
        ({"out": "x", "json": True}, "no key out, json; there can be"),
        ({"seed": "1"}, "seed is '1'; it must be a whole number"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"train": 1.5}, "train is 1.5; it must be a whole number"),
        (
            {"ablation": "noise"},
            "ablation is 'noise'; it must be 'interchange' or 'mean' or 'zero'",
        ),
        ({"offload": "tape"}, "offload is 'tape'; it must be 'disk'"),
        ({"offload": "disk", "shards": 2}, "no key shards; there can be"),
        ({"densities": 0.2}, "densities is 0.2; it must be a list, each a number"),
        ({"densities": [0.2, 2]}, "densities: 2 must be above 0 and at most 1"),
        ({"densities": [0.2, 0.2]}, "two runs would be called 'edge-pruning-0.2'"),
        ({"methods": "\nmethods = 3"}, "methods is 3; it must be a list, each a table"),
        (
            {"methods": "\n[[methods]]\nsteps = 3"},
            "[[methods]] 1: name is None; there are edge-pru",
        ),
        ({"methods": '\n[[methods]]\nname = ["eap"]'}, "name is ['eap']; there are edge-pruning"),
        ({"methods": '\n[[methods]]\nname = "magic"'}, "name is 'magic'; there are edge-pruning"),
        (
            {"methods": METHODS + "lr = 1"},
            "[[methods]] 3 (eap): no key lr; there can be name, label",
        ),
        (
            {"methods": METHODS + 'prompts = "all"'},
            "(eap): prompts is 'all'; it must be a whole num",
        ),
        ({"methods": METHODS + 'order = "up"'}, "order is 'up'; it must be 'value' or 'magnitude'"),
        (
            {"methods": METHODS.replace('"few"', '"../few"')},
            "label is '../few'; it must be a folder",
        ),
        ({"methods": METHODS + "batch_size = 0"}, "[[methods]] 3 (eap): batch_size=0: it must be"),
        ({"methods": METHODS + "density = 0.1"}, "(eap): ask for a density or for a number of"),
        (
            {"methods": METHODS.replace("steps = 4", "paper = true")},
            "[[methods]] 1 (edge-pruning): the paper has no task",
        ),
        (
            {"task": "ioi", "methods": METHODS.replace("steps = 4", "paper = true\nedges = 9")},
            "(edge-pruning): edges=9: the preset ends at target_sparsity=0.98",
        ),
        ({"methods": METHODS + "paper = true"}, "3 (eap): no key paper; there can be name, label"),
        ({"task": "none.jsonl"}, "none.jsonl: there is no such file"),
        ({"dtype": "float8"}, "float8: choose auto"),
        ({"train": 3}, "--train can't be chosen for"),
    ],
)
def test_mistakes_are_refused_before_a_model_is_loaded(
    home, tmp_path, capsys, monkeypatch, changes, said
):
    monkeypatch.setattr("edgewise.cli.discover.load", None)
    file = write(home, **changes)
    assert cli.main(compare(home, tmp_path / "new", file)) == 2
    error = capsys.readouterr().err
    assert error.startswith("edgewise: ")
    assert said in error
    assert not (tmp_path / "new").exists()


def test_methods_are_checked_on_the_model_before_the_first_search(home, tmp_path, capsys):
    file = write(home, METHODS.replace("edges = 9", "edges = 9999"))
    assert cli.main(compare(home, tmp_path / "new", file)) == 2
    assert "edges=9999: the graph has" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_other_runs_in_the_folders_are_refused(home):
    with pytest.raises(RunError, match=r"holds another run:\n +seed +3 there, 4 now") as error:
        config.read(write(home, seed=4), home / "runs")
    assert "`edgewise discover --overwrite` deletes the run" in str(error.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "nothing to compare: name run folders, or methods in a file"),
        (["--config", "a.toml"], "--config needs --out"),
        (["--out", "runs"], "--out is for the runs of a --config"),
        (["runs/a", "--config", "a.toml", "--out", "runs"], "name no folders beside it"),
        (["--config", "none.toml", "--out", "runs"], "can't read none.toml: No such file"),
    ],
)
def test_flags_that_can_t_be_meant(argv, said, capsys):
    assert cli.main(["compare", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_toml(tmp_path):
    (tmp_path / "a.toml").write_text("model = ")
    with pytest.raises(ConfigError, match=r"a\.toml is no TOML file: Invalid value"):
        config.read(tmp_path / "a.toml", tmp_path / "runs")


def test_a_method_may_start_from_the_papers_hyperparameters(tmp_path):
    file = tmp_path / "paper.toml"
    method = '[[methods]]\nname = "edge-pruning"\npaper = {}\nsteps = 9\n'
    top = 'model = "gpt2"\ntask = "greater-than"\n'
    file.write_text(top + method.format("true"))
    runs = config.read(file, tmp_path / "runs")
    assert {name: run.method for name, run in runs.items()} == {
        "edge-pruning": EdgePruning.paper("greater-than", steps=9)
    }
    file.write_text(top + method.format("false"))
    assert list(config.read(file, tmp_path / "runs")) == ["edge-pruning-0.02"]


def test_the_example_can_be_meant(tmp_path):
    runs = config.read(EXAMPLE, tmp_path)
    assert len(runs) == 8
    assert runs["edge-pruning-short-0.01"].method.steps == 60
    assert {run.command.train for run in runs.values()} == {500}
    assert [runs["eap-ig-0.02"].method.density, runs["eap-ig-0.02"].method.steps] == [0.02, 5]
