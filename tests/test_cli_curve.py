"""`edgewise curve`: a run's ranking at several densities, point by point."""

import json
import shutil

import pytest

from commands import discover, refused, without
from edgewise import cli
from edgewise.cli import curve
from edgewise.curve import cmd, cpr
from edgewise.report import Report

SIZES = [1, 4, 8, 16, 41, 82]  # int(k E) of MIB's ten k and 82 edges, less three times 0


@pytest.fixture
def run(home, tmp_path):
    """A copy of the EAP run: scores of either sign."""
    return shutil.copytree(home / "eap", tmp_path / "run")


@pytest.fixture
def passes(monkeypatch):
    """The numbers of edges measured in each pass."""
    seen = []

    def listening(model, task, circuits, *args, **kwargs):
        seen.append([len(one) for one in circuits])
        return measured(model, task, circuits, *args, **kwargs)

    measured = curve.measured
    monkeypatch.setattr(curve, "measured", listening)
    return seen


def sizes(run, by, file="report.json"):
    return [row.edges for row in Report.load(run / file).curves.get(by, ())]


def test_both_rankings_of_signed_scores_and_mib_s_areas(run, passes, capsys):
    before = Report.load(run)
    assert cli.main(["curve", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == str(run / "report.json")
    assert [size for sizes in passes for size in sizes] == sorted(2 * SIZES[:-1])  # 82 is known
    after = Report.load(run)
    assert found["report"] == after.to_json()
    assert (after.rows, after.samples, after.order) == (before.rows, before.samples, "magnitude")
    densities = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    for by in ("value", "magnitude"):
        assert sizes(run, by) == SIZES
        f = after.faithfulness_at(densities, "logit_difference", by)
        assert f[:4] == (0, 0, 0, 0)
        assert found["areas"][by]["cpr"] == pytest.approx(cpr(densities, f))
        assert found["areas"][by]["cmd"] == pytest.approx(cmd(densities, f))
    assert after.curves["value"] != after.curves["magnitude"]


def test_one_ranking_of_gates(home, tmp_path, passes, capsys):
    run = shutil.copytree(home / "edge-pruning", tmp_path / "run")
    assert cli.main(["curve", str(run), "--densities", "0.1", "0.3", "--quiet"]) == 0
    assert passes == [[8, 24]]
    assert (sizes(run, "value"), sizes(run, "magnitude")) == ([8, 24], [])
    said = capsys.readouterr().out
    assert "by value  edges  alive  density     KL  exact match" in said
    assert "holds the curve" in said


def test_points_are_measured_once(run, passes, monkeypatch):
    assert cli.main(["curve", str(run), "--densities", "0.1", "--quiet"]) == 0
    assert cli.main(["curve", str(run), "--densities", "0.1", "0.2", "--quiet"]) == 0
    assert passes == [[8, 8], [16, 16]]
    monkeypatch.setattr("edgewise.cli.session.load", None)  # no model is needed any more
    assert cli.main(["curve", str(run), "--densities", "0.2", "--quiet"]) == 0
    assert len(passes) == 2


def test_a_seed_that_there_is_not_is_refused_first(run, passes, capsys):
    assert cli.main(["curve", str(run), "--seed", "-1"]) == 2
    assert "--seed -1: it must be at least 0" in capsys.readouterr().err
    assert not passes


def test_scores_that_rank_no_other_sizes_come_with_a_warning(home, tmp_path, capsys):
    argv = without(discover(home, tmp_path / "run", method="acdc"), ["--edges"])
    assert cli.main(argv) == 0
    capsys.readouterr()
    assert cli.main(["curve", str(tmp_path / "run"), "--densities", "0.1"]) == 0
    assert "warning: ACDC's scores put its own circuit first" in capsys.readouterr().err


def test_an_interrupted_curve_goes_on(run, passes, monkeypatch, capsys):
    listening = curve.measured

    def interrupted(*args, **kwargs):
        if passes:
            raise KeyboardInterrupt
        return listening(*args, **kwargs)

    monkeypatch.setattr(curve, "measured", interrupted)
    assert cli.main(["curve", str(run), "--quiet"]) == 130
    assert f"type\n    edgewise curve {run}" in capsys.readouterr().err
    assert (sizes(run, "value"), sizes(run, "magnitude")) == ([1, 4, 82], [1, 4, 82])
    monkeypatch.setattr(curve, "measured", listening)
    assert cli.main(["curve", str(run), "--quiet"]) == 0
    assert passes == [[1, 1, 4, 4], [8, 8, 16, 16], [41, 41]]
    assert sizes(run, "magnitude") == SIZES


def test_evaluating_again_keeps_the_curve(run):
    assert cli.main(["curve", str(run), "--densities", "0.1", "--quiet"]) == 0
    before = Report.load(run)
    assert cli.main(["evaluate", str(run), "--quiet"]) == 0
    assert Report.load(run) == before


def test_another_split_has_a_report_of_its_own(run):
    before = (run / "report.json").read_bytes()
    argv = ["curve", str(run), "--densities", "0.1", "--split", "validation", "--quiet"]
    assert cli.main(argv) == 0
    assert sizes(run, "value", "report-validation.json") == [8]
    assert Report.load(run / "report-validation.json").split == "validation"
    assert (run / "report.json").read_bytes() == before


def test_densities_that_there_are_not(run, tmp_path, capsys):
    assert "density must be in (0, 1], not 2" in refused(capsys, ["curve", run, "--densities", 2])
    assert "no run folder" in refused(capsys, ["curve", tmp_path])
