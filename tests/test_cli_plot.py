"""`edgewise plot`: figures of runs and of one circuit."""

import json
import sys

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install edgewise[plot]")

from commands import refused
from edgewise import cli


def test_figures_are_drawn(home, tmp_path, capsys):
    runs = [str(home / "edge-pruning"), str(home / "eap")]
    out = tmp_path / "faithfulness.svg"
    command = ["plot", *runs, "--out", str(out), "--metrics", "kl", "accuracy"]
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "runs": runs}
    drawn = out.read_text()
    assert all(f">{word}<" in drawn for word in ("edge-pruning", "eap", "accuracy"))
    assert "exact match" not in drawn
    assert cli.main(["plot", runs[0], "--circuit", "--out", str(tmp_path / "circuit.pdf")]) == 0
    assert (tmp_path / "circuit.pdf").read_bytes().startswith(b"%PDF")


def test_figures_that_cannot_be_drawn(home, tmp_path, capsys, monkeypatch):
    run, out = home / "eap", tmp_path / "a.pdf"
    assert "name one run folder or more" in refused(capsys, ["plot", "--out", out])
    both = refused(capsys, ["plot", run, home / "edge-pruning", "--circuit", "--out", out])
    assert "--circuit draws one circuit, and 2 runs are named" in both
    unused = refused(capsys, ["plot", run, "--circuit", "--metrics", "kl", "--out", out])
    assert "leave them out with --circuit" in unused
    missing = refused(capsys, ["plot", run, "--metrics", "beauty", "--out", out])
    assert "no metric 'beauty'; there are: kl, exact_match" in missing
    assert "evaluate the run first" in refused(capsys, ["plot", tmp_path, "--out", out])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'edgewise[plot]'" in refused(capsys, ["plot", run, "--out", out])
    assert not out.exists()
