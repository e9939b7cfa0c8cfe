"""The command line on mistakes: one line that says what to type, before any work is spent."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

import tiny_files
from commands import STEPS, discover, refused, rows, save_model, without, write_task
from edgewise import cli
from edgewise.circuit import Circuit
from edgewise.runs import read_config


def test_another_run_in_the_folder_is_refused_by_what_differs(home, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(home / "eap", run)
    monkeypatch.setattr("edgewise.cli.discover.load", None)  # refused before a model is loaded
    said = refused(capsys, [*discover(home, run, method="eap"), "--seed", "1", "--order", "value"])
    assert f"{run} holds another run" in said
    assert "method.order   'magnitude' there, 'value' now" in said
    assert "seed           0 there, 1 now" in said
    assert "--overwrite" in said


@pytest.mark.parametrize(
    ("flags", "differ"),
    [
        (
            ["--task", "ioi"],
            ["task.task         'letters' there, 'ioi' now", "task.train", "task.seed"],
        ),
        (["--task", "others.jsonl"], ["task.jsonl", "task.sha256"]),
        (["--model", "other"], ["model.name"]),
        (["--embeddings", "split"], ["model.embeddings"]),
        (["--dtype", "bfloat16"], ["model.dtype   'float32' there, 'bfloat16' now"]),
    ],
)
def test_another_task_or_model_in_the_folder_is_refused_before_one_is_loaded(
    home, tmp_path, capsys, monkeypatch, flags, differ
):
    monkeypatch.setattr("edgewise.cli.discover.load", None)
    monkeypatch.chdir(home)
    run = tmp_path / "run"
    shutil.copytree(home / "eap", run)
    said = refused(capsys, [*without(discover(home, run, method="eap"), flags), *flags])
    assert all(text in said for text in differ)


def test_other_weights_in_the_folder_are_refused_with_the_model_at_hand(home, tmp_path, capsys):
    shutil.copytree(home / "eap", tmp_path / "run")
    config = read_config(tmp_path / "run")
    config["model"]["weights"] = "others"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    said = refused(capsys, discover(home, tmp_path / "run", method="eap"))
    assert "model.weights   'others' there" in said
    assert "task." not in said


def test_overwrite_starts_again(home, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(home / "eap", run)
    assert cli.main([*discover(home, run), "--overwrite"]) == 0
    assert read_config(run)["method"]["name"] == "edge-pruning"
    assert Circuit.load(run) == Circuit.load(home / "edge-pruning")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "magic"], "--method magic: there are edge-pruning, eap"),
        (["--density", "0"], "--density 0.0: it must be above 0 and at most 1"),
        (["--density", "1.5"], "--density 1.5: it must be above 0 and at most 1"),
        (["--task", "ioy"], "no task 'ioy'; there are ioi, "),
        (["--task", "gone.jsonl"], "gone.jsonl: there is no such file"),
        (["--train", "5"], "--train can't be chosen for"),
        (["--task", "ioi", "--test", "0"], "--test 0: a split needs at least one prompt"),
        (["--dtype", "int8"], "--dtype int8: choose auto, float32"),
        (["--method", "eap", "--paper"], "--paper: no hyperparameters were published for eap"),
        (["--paper"], "the paper has no task"),
        (["--paper", "--task", "ioi", "--density", "0.1"], "give --target-sparsity"),
        (["--eval-batch-size", "0"], "--eval-batch-size 0: it must be at least 1"),
        (["--seed", "-1"], "--seed -1: it must be at least 0"),
        (["--memory", "0"], "--memory 0.0: it must be above 0"),
        (["--steps", "-5"], "--steps -5: it must be at least 1"),
        (["--batch-size", "0"], "--batch-size 0: it must be at least 1"),
        (["--edges", "0"], "--edges 0: it must be at least 1"),
        (["--density", "0.1"], "not both: --density 0.1, --edges 30"),
        (["--lr", "-1"], "--lr -1.0: it must be at least 0"),
        (["--nodes"], "--nodes is for --control lagrangian; --control budget doesn't read it"),
        (
            ["--target-sparsity", "1.1", "--control", "lagrangian", "--schedule", "logarithmic"],
            "1.1",
        ),
    ],
)
def test_mistakes_are_found_before_a_model_is_loaded(
    home, tmp_path, capsys, monkeypatch, flags, said
):
    monkeypatch.setattr("edgewise.cli.discover.load", None)
    argv = without(discover(home, tmp_path / "run"), flags)
    if "eap" in flags:
        argv = [word for word in argv if word not in ("--steps", str(STEPS), "4")]
        argv.remove("--checkpoint-every")
    assert said in refused(capsys, [*argv, *flags])
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_found_before_a_model_is_loaded(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("edgewise.cli.discover.load", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 7, 3))
    assert "its disk has 3 B free" in refused(capsys, discover(home, tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--edges", "1000"], "--edges 1000: the graph has 82"),
        (["--device", "nosuch"], "device 'nosuch': choose cpu, cuda"),
        (["--shards", "2"], "shards=2: there is one process"),
        (["--model", "nowhere/at-all"], "nowhere/at-all: "),
        (["--task", "gendered-pronoun"], "to be one token"),
        (["--task", "train-only.jsonl"], "split 'test' does not exist"),
        (["--task", "uneven.jsonl"], "equally many tokens"),
        (["--task", "unmarked.jsonl"], "<predict>"),
    ],
)
def test_mistakes_are_found_before_any_work(home, tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    first, *_ = rows()
    write_task(Path("train-only.jsonl"), split=("train",))
    Path("uneven.jsonl").write_text(json.dumps(first | {"corrupted": "a <predict>b</predict>"}))
    Path("unmarked.jsonl").write_text(json.dumps(first | {"clean": "a and b: b to a"}))
    argv = without(discover(home, "run"), flags)
    assert said in refused(capsys, [*argv, *flags])
    assert not Path("run/metrics.jsonl").exists()


def test_a_metric_that_the_prompts_lack_is_refused_by_its_flag(home, tmp_path, capsys):
    argv = discover(home, tmp_path / "run", "--metric", "probability_difference", method="eap")
    assert "--metric probability_difference: the training prompts" in refused(capsys, argv)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_tokenizer_is_refused(home, tmp_path, capsys):
    tiny_files.folder(tmp_path / "bare", with_tokenizer=False)
    argv = discover(home, tmp_path / "run")
    argv[argv.index("--model") + 1] = str(tmp_path / "bare")
    assert "has no tokenizer, and prompts are text" in refused(capsys, argv)


@pytest.mark.parametrize("command", ["evaluate", "compare", "view", "export"])
def test_what_is_no_run_is_refused(tmp_path, capsys, command):
    said = refused(capsys, [command, tmp_path / "nothing"])
    assert "nothing" in said
    assert "run folder" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--test", "4"], "--test 4 is for another task, which --task names"),
        (["--batch-size", "0"], "--batch-size 0: it must be at least 1"),
        (["--seed", "-1"], "--seed -1: it must be at least 0"),
        (["--density", "0.02", "--edges", "9"], "--density 0.02, --edges 9: ask for one of two"),
        (["--task", "nothing"], "no task 'nothing'; there are ioi"),
        (["--task", "gone.jsonl"], "gone.jsonl: there is no such file"),
    ],
)
def test_an_evaluation_is_refused_before_a_model_is_loaded(home, capsys, monkeypatch, flags, said):
    monkeypatch.setattr("edgewise.cli.session.load", None)
    assert said in refused(capsys, ["evaluate", home / "eap", *flags])


def test_a_report_that_can_t_be_written_is_refused_before_a_model_is_loaded(
    home, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("edgewise.cli.session.load", None)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    said = refused(capsys, ["evaluate", home / "eap", "--out", tmp_path / "no" / "report.json"])
    assert f"you may not write to {tmp_path}" in said


@pytest.mark.parametrize("command", ["evaluate", "curve"])
def test_a_split_that_there_is_not_is_refused_before_any_work(home, capsys, monkeypatch, command):
    monkeypatch.setattr("edgewise.cli.measuring.discover", None)
    monkeypatch.setattr("edgewise.cli.measuring.evaluate", None)
    said = refused(capsys, [command, home / "edge-pruning", "--split", "dev", "--quiet"])
    assert "split 'dev' does not exist" in said


def test_a_command_without_flags_says_which_it_needs(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["discover"])
    assert ended.value.code == 2
    assert "--model" in capsys.readouterr().err


def test_a_flag_that_is_another_methods_points_to_the_methods_own_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["discover", "--method", "acdc", "--density", "0.1"])
    assert "discover --method acdc --help" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["evaluate", "curve"])
def test_a_run_whose_model_or_prompts_have_moved(home, tmp_path, capsys, command):
    run, config = tmp_path / "run", read_config(home / "eap")
    shutil.copytree(home / "eap", run)
    config["model"]["name"] = "was/here"
    (run / "config.json").write_text(json.dumps(config))
    argv = [command, run, "--quiet", *(["--densities", "0.3"] if command == "curve" else [])]
    said = refused(capsys, argv)
    assert (
        f"{run} is of the model 'was/here', which can't be loaded from here: --model says" in said
    )
    argv += ["--model", home / "model"]
    assert cli.main(list(map(str, argv))) == 0
    capsys.readouterr()
    config["task"]["jsonl"] = "was.jsonl"
    (run / "config.json").write_text(json.dumps(config))
    (run / "report.json").unlink()
    assert "are in was.jsonl, which is no file from here" in refused(capsys, argv)


@pytest.mark.parametrize("command", ["evaluate", "curve"])
def test_a_config_that_is_corrupt_is_refused_with_the_command_that_replaces_it(
    home, tmp_path, capsys, command
):
    shutil.copytree(home / "eap", tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text('{"format": "edgew')
    said = refused(capsys, [command, tmp_path / "run"])
    assert f"{tmp_path / 'run' / 'config.json'} is corrupt (Unterminated string" in said
    assert "`edgewise discover --overwrite` deletes the run and starts again" in said


def test_a_circuit_that_is_corrupt_is_made_again_once_it_is_deleted(home, tmp_path, capsys):
    run, file = tmp_path / "run", tmp_path / "run" / "circuit.json"
    shutil.copytree(home / "edge-pruning", run)
    file.write_text("{")
    for argv in (["evaluate", run], ["view", run], discover(home, run)):
        said = refused(capsys, argv)
        assert f"{file} is no JSON file" in said
        assert "delete it and type the run's `edgewise discover` command again" in said
    file.unlink()
    assert cli.main(discover(home, run)) == 0
    assert Circuit.load(run) == Circuit.load(home / "edge-pruning")


def test_an_unfinished_run_is_not_evaluated(home, tmp_path, capsys):
    shutil.copytree(home / "eap", tmp_path / "run")
    (tmp_path / "run" / "circuit.json").unlink()
    assert "is not finished" in refused(capsys, ["evaluate", tmp_path / "run"])


def test_a_model_or_task_that_has_changed_is_not_evaluated(home, tmp_path, capsys):
    for name in ("model", "eap"):
        shutil.copytree(home / name, tmp_path / name)
    task = write_task(tmp_path / "letters.jsonl", offset=1)
    config = read_config(tmp_path / "eap")
    config["task"]["jsonl"] = str(task)
    (tmp_path / "eap" / "config.json").write_text(json.dumps(config))
    assert "has other prompts now" in refused(capsys, ["evaluate", "--quiet", tmp_path / "eap"])
    save_model(tmp_path / "model", seed=1)
    config["model"]["name"] = str(tmp_path / "model")
    (tmp_path / "eap" / "config.json").write_text(json.dumps(config))
    assert "was found in other weights" in refused(
        capsys, ["evaluate", "--quiet", tmp_path / "eap"]
    )


def test_a_warning_is_one_line(home, tmp_path, capsys):
    row = {key: value for key, value in next(rows()).items() if key != "split"}
    (tmp_path / "unsplit.jsonl").write_text(json.dumps(row))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        argv = ["tasks", str(tmp_path / "unsplit.jsonl"), "--model", str(home / "model")]
        assert cli.main(argv) == 0
    said = capsys.readouterr().err
    assert said.startswith('warning: no row has a "split": all 1 are used')
    assert said.count("\n") == 1


def test_a_file_that_cannot_be_written_is_one_line(home, tmp_path, capsys):
    said = refused(capsys, ["export", home / "eap", "--out", tmp_path])
    assert said == f"edgewise: {tmp_path}: Is a directory\n"
