"""The command line before there is work: help, flags, progress."""

import importlib
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal, get_type_hints

import pytest

from edgewise import cli
from edgewise.cli import flags, output
from edgewise.discovery import METHODS, EdgePruning


@pytest.mark.parametrize("argv", [["--help"], ["--version"], [], ["frob"]])
def test_help_comes_without_torch_or_the_parser(argv):
    code = f"import sys; from edgewise.cli import main; main({argv})\n"
    code += "print(sorted({'torch', 'numpy', 'tyro', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "argv", [["evaluate", "--frob"], ["evaluate", "run", "--batch-size", "0"], ["plan", "--frob"]]
)
def test_flags_that_can_not_be_meant_need_no_torch(argv):
    code = "import atexit, sys; from edgewise.cli import main\n"
    code += "atexit.register(lambda: print('torch' in sys.modules))\n"
    code += f"sys.exit(main({argv}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "False")


def test_importing_edgewise_is_importing_nothing():
    code = "import sys, edgewise; edgewise.__all__; print('torch' in sys.modules)\n"
    code += "edgewise.Circuit, edgewise.export; print('torch' in sys.modules)\n"
    code += "edgewise.tasks.ioi, edgewise.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"    {name} " in said for name in cli.COMMANDS)
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as done:
            cli.main([name, "--help"])
        assert done.value.code == 0
        assert f"usage: edgewise {name}" in capsys.readouterr().out


def test_python_dash_m_is_the_command():
    command = [sys.executable, "-m", "edgewise", "frob"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("edgewise: no command 'frob'; there are: discover, evaluate")


def test_a_record_in_words():
    record = {"step": 4, "loss": 0.3141, "kl": 0.25, "density": 0.021, "target": 0.02}
    shown = {"steps": 9, "steps_per_second": 1.94, "seconds_left": 71.6}
    words = "loss 0.314  KL 0.250  density 2.10% (to 2.00%)"
    assert output.describe(record) == words
    assert output.describe(record | shown) == f"{words}  1.9 steps/s  1:12 left"
    assert output.describe({"steps_per_second": 0.125}) == "8 s/step"
    assert output.describe({"loss": -1e-6, "kl": -0.0}) == "loss 0.000  KL 0.000"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_ends_with_the_last_step(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with output.Output().progress() as update:
        update({"phase": "attribution", "step": 1, "steps": 1})
        for step in range(1, 1001):
            update({"phase": "training", "step": step, "steps": 1000, "loss": 1.0})
    said = capsys.readouterr()
    assert said.out == ""
    assert "1000/1000" in said.err
    assert "training" in said.err
    if not terminal:
        assert said.err.splitlines() == ["attribution 1/1", "training 1000/1000  loss 1.000"]


def test_what_a_caller_calls_its_work_is_shown_whatever_the_phase(capsys):
    with output.Output().progress("EAP") as update:
        update({"phase": "attribution", "step": 1, "steps": 1})
    assert capsys.readouterr().err == "EAP 1/1\n"


def test_quiet_has_no_progress():
    with output.Output(quiet=True).progress() as update:
        assert update is None


@dataclass(frozen=True)
class Method:
    """A method.

    size, share   how much of it
                  to keep
    kind          "a" or "b"
    Text that is no column.
    """

    size: int
    share: float | None = 0.5
    kind: Literal["a", "b"] = "a"
    hidden: float = 1.0

    def __post_init__(self):
        raise AssertionError("the parser makes a plain copy")


def test_a_docstrings_columns_are_the_flags_help(capsys):
    with pytest.raises(SystemExit):
        flags.parse(flags.plain(Method), ["--help"], "test")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--size INT how much of it to keep (required)" in said
    assert "--share FLOAT how much of it to keep (default: 0.5)" in said
    assert '--kind {a,b} "a" or "b" (default: a)' in said
    assert "--hidden FLOAT (default: 1.0)" in said
    given = flags.parse(flags.plain(Method), ["--size", "3", "--share", "None"], "test")
    assert vars(given) == {"size": 3, "share": None, "kind": "a", "hidden": 1.0}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_field_of_a_method_has_help(method):
    hints = get_type_hints(flags.plain(method), include_extras=True)
    assert [name for name, hint in hints.items() if not hint.__metadata__[0].help] == []


def test_help_of_the_papers_hyperparameters(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["discover", "--paper", "--help"])
    assert ended.value.code == 0
    assert "--target-sparsity" in capsys.readouterr().out


def test_the_papers_hyperparameters_are_a_start(tmp_path):
    argv = ["--model", "gpt2", "--task", "ioi", "--out", str(tmp_path), "--paper", "--steps", "9"]
    given = importlib.import_module("edgewise.cli.discover").parse(argv)
    assert given.method == EdgePruning.paper("ioi", steps=9)
