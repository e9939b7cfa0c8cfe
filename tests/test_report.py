"""Reports to JSON and back, and as text."""

import itertools
import json
from dataclasses import replace

import pytest

from edgewise.curve import DENSITIES, edges_at
from edgewise.errors import DataError, RunError
from edgewise.estimate import Estimate
from edgewise.report import Report, Row, Sample


def row(edges: int, kl: float, difference: float, accuracy: float = 0.5) -> Row:
    values = {
        "kl": kl,
        "exact_match": 0.75,
        "exact_match_right": 0.9,
        "exact_match_wrong": 0.6,
        "accuracy": accuracy,
        "logit_difference": difference,
        "kl_p95": 2 * kl,
        "kl_max": 3 * kl,
    }
    metrics = {name: Estimate(v, v - 0.125, v + 0.125) for name, v in values.items()}
    return Row(edges, edges // 2, edges / 1000, metrics)


REPORT = Report(
    model="tiny",
    task="toy",
    split="test",
    ablation="interchange",
    n_prompts=40,
    n_edges=1000,
    rows={
        "circuit": row(20, 0.25, 3.0),
        "full": row(1000, -1e-9, 4.0, accuracy=0.6),
        "empty": row(0, 5.0, -1.0),
        "random": row(20, 4.0, -0.5),
    },
    samples=(Sample("When Mär", "When Bob", " y", ((" y", 0.5),), ((" z", 0.25), (" y", 0.2))),),
    curves={"magnitude": (row(20, 0.25, 3.0), row(1000, 0.0, 4.0, accuracy=0.6))},
    order="magnitude",
)

TEXT = """\
tiny on toy, test: 40 prompts, interchange ablation

         edges  alive  density     KL  exact match  accuracy  logit diff.
circuit     20     10       2%  0.250        0.750     0.500        3.000
full     1,000    500     100%  0.000        0.750     0.600        4.000
empty        0      0       0%  5.000        0.750     0.500       -1.000
random      20     10       2%  4.000        0.750     0.500       -0.500

circuit: KL 0.250 (0.125 to 0.375), 95th percentile 0.500, maximum 0.750
exact match 0.750 (0.625 to 0.875), 0.900 where the model is right (24), \
0.600 where the model is wrong (16)

by magnitude  edges  alive  density     KL  exact match  accuracy  logit diff.
                 20     10       2%  0.250        0.750     0.500        3.000
              1,000    500     100%  0.000        0.750     0.600        4.000

area under the curve    f ~   KL ~  exact match ~  accuracy ~
by magnitude          0.900  0.125          0.750       0.550
f: 0 without edges, 1 for the full model. ~: mean over ln(density). \
MIB takes CPR by value, CMD by magnitude"""


def test_shortcuts_are_the_circuit_s():
    assert (REPORT.edges, REPORT.edges_alive, REPORT.density) == (20, 10, 0.02)
    assert (REPORT.kl, REPORT.exact_match, REPORT.accuracy) == (0.25, 0.75, 0.5)
    assert REPORT.logit_difference == 3
    assert REPORT.metric("kl", "empty") == 5
    with pytest.raises(DataError, match="no metric 'kendall_tau'; there are: kl, exact_match"):
        REPORT.metric("kendall_tau")
    with pytest.raises(DataError, match="no row 'eap'; there are: circuit, full, empty, random"):
        REPORT.metric("kl", "eap")


def test_faithfulness_of_rows_and_of_the_curve():
    assert REPORT.faithfulness() == pytest.approx(0.8)
    assert REPORT.faithfulness(row="random") == pytest.approx(0.1)
    assert REPORT.faithfulness_at((0, 0.02, 1), "logit_difference", "magnitude") == pytest.approx(
        (0, 0.8, 1)
    )
    assert REPORT.faithfulness_at((0.05,), "logit_difference", "magnitude") is None
    assert REPORT.faithfulness_at((0.02,), "logit_difference", "value") is None
    with pytest.raises(DataError, match="no metric 'kendall_tau'"):
        REPORT.faithfulness("kendall_tau")


def mib_areas(f: dict[float, float]) -> tuple[float, float]:
    """CPR and CMD as MIB's evaluation sums them up: trapezoids between percentages."""
    cpr = cmd = 0.0
    for (a, f_a), (b, f_b) in itertools.pairwise(sorted(f.items())):
        cpr += (b - a) * (f_a + f_b) / 2
        cmd += (b - a) * (abs(1 - f_a) + abs(1 - f_b)) / 2
    return cpr, cmd


def test_areas_are_mib_s():
    """Of int(k E) edges at each of the ten k, drawn at k; none at all is the empty circuit."""
    graph = 1234  # int(k E) < k E but for k = 1 and 0.5
    f = dict(zip(DENSITIES, (0.1, -0.2, 0.3, 0.4, 0.9, 1.3, 1.2, 0.8, 1.1, 1.0), strict=True))
    rows = {by: [] for by in ("value", "magnitude")}
    for k, value in f.items():
        for by, sign in (("value", 1), ("magnitude", -1)):
            one = row(edges_at(k, graph), 0.5, 5 * sign * value - 1)
            rows[by].append(replace(one, density=one.edges / graph))
    report = replace(REPORT, n_edges=graph, curves={by: tuple(r) for by, r in rows.items()})
    cpr, cmd = mib_areas(f)
    areas = report.areas()
    assert (areas["value"]["cpr"], areas["value"]["cmd"]) == pytest.approx((cpr, cmd))
    negative = {k: -value for k, value in f.items()} | {1.0: 1.0}  # all edges are the full model
    assert areas["magnitude"]["cmd"] == pytest.approx(mib_areas(negative)[1])
    assert areas["value"]["kl"] == pytest.approx(0.5)
    assert "CPR" in str(report)

    small = replace(report, n_edges=900, curves={"value": report.curves["value"][1:]})
    assert "cpr" not in small.areas()["value"]
    flat = replace(report, rows=dict(report.rows) | {"empty": report.rows["full"]})
    assert set(flat.areas()["value"]) == {"kl", "exact_match", "accuracy"}


def test_json_and_back(tmp_path):
    data = REPORT.to_json()
    assert data == json.loads(json.dumps(data))
    assert data["format"] == "edgewise-report/1"
    assert data["rows"]["circuit"]["metrics"]["kl"] == {"mean": 0.25, "low": 0.125, "high": 0.375}
    assert data["curves"]["magnitude"][0]["metrics"]["logit_difference"]["mean"] == 3
    assert data["samples"][0]["circuit"] == [[" z", 0.25], [" y", 0.2]]
    assert Report.from_json(data) == REPORT
    assert REPORT.save(tmp_path) == tmp_path / "report.json"
    assert Report.load(tmp_path) == REPORT
    bare = replace(REPORT, curves={}, samples=())
    assert Report.from_json(bare.to_json()) == bare
    del data["curves"], data["order"]
    assert Report.from_json(data | {"weather": "fine"}).curve == ()
    assert [one.edges for one in REPORT.curve] == [20, 1000]


def test_files_that_are_no_report_are_refused(tmp_path):
    with pytest.raises(RunError, match="does not exist: evaluate the run first"):
        Report.load(tmp_path)
    file = tmp_path / "report.json"
    for broken in (b"{", b"\xff\xfe"):
        file.write_bytes(broken)
        with pytest.raises(RunError, match=r"no JSON file: .*; delete it and evaluate the run"):
            Report.load(tmp_path)
    for wrong in ([], {}, {"format": "edgewise-circuit/1"}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(RunError, match=r"report\.json: no report: its format is"):
            Report.load(tmp_path)
    for wrong in ("rows", "model", "samples"):
        data = REPORT.to_json()
        del data[wrong]
        with pytest.raises(RunError, match=f"no report: .*{wrong}"):
            Report.from_json(data)


def test_a_line_at_a_prompt():
    assert repr(REPORT) == "<Report of 20 of 1,000 edges: tiny on toy, 40 test prompts, KL 0.250>"
    assert repr(replace(REPORT, rows={})) == "<Report: tiny on toy, 40 test prompts>"


def test_as_text():
    assert str(REPORT) == TEXT
    bare = replace(REPORT, curves={}, rows=dict(REPORT.rows) | {"eap": row(20, 1.0, 1.0)})
    assert "by magnitude" not in str(bare)
    assert "\neap " in str(bare)
    few = {"circuit": Row(20, 10, 0.02, {"kl": Estimate(1, 0, 2)})}
    assert str(replace(bare, rows=few)).endswith("\n\ncircuit: KL 1.000 (0.000 to 2.000)")
