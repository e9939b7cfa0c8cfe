"""What stands beside a page's circuit, in a real browser: report, attention, another circuit."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install edgewise[test]")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains

import browser
from browser import Page
from edgewise.circuit import Circuit
from edgewise.graph import Graph
from pages import GRAPH, Open, a_report, patterns, random_scores

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))


# --- report --------------------------------------------------------------------------------------


def test_the_report_stands_beside_the_circuit(open_page: Open, tmp_path: Path) -> None:
    scores = random_scores(GRAPH)
    circuit = scores.top(100)
    report = a_report(GRAPH, circuit, [20, 50, 200])
    records = [
        f'{{"step": {i}, "kl": {2 / (i + 1)}, "density": 0.1, "target": 0.1}}' for i in range(9)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(records) + '\n{"step": 9, "kl"')
    page = open_page(circuit, scores=scores, report=report, run=tmp_path, attention=[patterns()])
    assert page.texts("#title") == ["ioi in tiny"]
    assert "64 prompts" in page.texts("#facts")[0]
    assert page.texts("[role=tab]") == ["Report", "Component", "Training", "Samples", "Attention"]
    assert page.texts(".metrics tbody tr")[0] == "circuit0.50.4 – 0.6"
    assert [text.split()[0] for text in page.texts(".metric b")] == ["0.5", "75.0%"]
    page.change(k=50)  # an evaluated point
    assert page.texts(".metric b") == ["1", "40.0%"]
    page.change(k=100)  # half way to the next, on a logarithmic scale
    assert page.texts(".metric b") == ["≈ 0.833", "≈ 45.0%"]
    page.change(k=210)
    assert page.texts(".metric b") == []
    assert page("document.querySelectorAll('.chart .band').length") == 1
    areas = report.areas()["value"]
    shown = dict(text.rsplit(" ", 1) for text in page.texts(".areas span[title]"))
    assert shown == {"KL": f"{areas['kl']:.3g}", "exact match": f"{areas['exact_match']:.3g}"}
    page.click("#tab-training")
    assert page("edgewise.data.history.step.length") == 9
    assert page("document.querySelectorAll('#page-training .chart').length") == 2
    page.click("#tab-samples")
    assert "</script><b>bold</b>" in page.find(".prompt").text


def test_a_page_without_a_curve_says_what_adds_one(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    report = replace(a_report(GRAPH, scores.top(100), []), curves={})
    page = open_page(scores.top(100), scores=scores, report=report)
    assert page.texts("figcaption code") == ["edgewise curve"]
    assert page.driver.find_elements("css selector", ".areas") == []
    page = open_page(scores.top(100), report=report)  # no ranking that could be measured
    assert page.texts("figcaption code") == []


def test_clicking_the_curve_goes_to_its_density(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    page = open_page(
        scores.top(100), scores=scores, report=a_report(GRAPH, scores.top(100), [20, 400])
    )
    page.click(".chart.pick")
    assert 20 < page.number("#n-edges") < GRAPH.n_edges
    assert page("edgewise.state.k") == page.number("#n-edges")


# --- attention -----------------------------------------------------------------------------------


def squares(page: Page, side: int) -> list[list[float]]:
    """[x, y, opacity] of a picture's squares."""
    return page(
        "[...document.querySelectorAll('.heat')[a].querySelectorAll('rect:not(.frame)')].map((r) =>"
        " [...['x', 'y', 'fill-opacity'].map((name) => Number(r.getAttribute(name)))])",
        side,
    )


def test_patterns_of_the_chosen_head_are_drawn(open_page: Open) -> None:
    first, second = patterns(5), patterns(9, seed=1)
    page = open_page(random_scores(GRAPH).top(300), attention=[first, second])
    page.click("#tab-attention")
    options = "#page-attention option"
    assert page.texts(options) == ["a1.h2", "a1.h5", "a4.h1"]
    assert page.find("#page-attention select").get_attribute("value") == "a4.h1"  # the busiest
    page.node("a1.h5").click()
    page.settle()
    assert page.find("#page-attention select").get_attribute("value") == "a1.h5"
    page.click("#tab-attention")
    cells = [(q, k) for q in range(9) for k in range(q + 1)]
    drawn = squares(page, 3)  # two prompts, full model and circuit: the last
    assert len(drawn) == len(cells)
    step = drawn[2][0] - drawn[1][0]
    for (q, k), (x, y, opacity) in zip(cells, drawn, strict=True):
        assert (x - drawn[0][0], y - drawn[0][1]) == pytest.approx((k * step, q * step))
        assert opacity**2 == pytest.approx(second.circuit[1, q, k], abs=0.004)
    ActionChains(page.driver).move_to_element_with_offset(
        page.find(".heat .frame"), -30, 30
    ).perform()
    page.settle()
    said = page.texts(".reading")[0]
    assert all(word in said for word in ("full model", "circuit", "→"))


# --- difference ----------------------------------------------------------------------------------


def test_the_difference_counts_as_python_does(open_page: Open) -> None:
    scores, others = random_scores(GRAPH, 0), random_scores(GRAPH, 1)
    left = Circuit(GRAPH, scores.top(300).kept, {"method": {"name": "edge-pruning"}})
    right = Circuit(GRAPH, others.top(250).kept, {"method": {"name": "eap"}})
    page = open_page(left, scores=scores, other=right)

    def check(left: Circuit) -> None:
        overlap = left.overlap(right)
        numbers = [page.number(f"#n-{part}") for part in ("shared", "left", "right", "union")]
        assert numbers == [len(left & right), len(left - right), len(right - left), overlap.union]
        assert float(page.texts("#iou")[0]) == pytest.approx(overlap.iou, rel=0.01)
        assert float(page.texts("#expected")[0]) == pytest.approx(overlap.expected, rel=0.01)
        assert float(page.texts("#times")[0].rstrip("×")) == pytest.approx(
            overlap.times_chance, rel=0.01
        )
        alive = set(left.pruned().edges) | set(right.pruned().edges)
        assert set(page("edgewise.names(edgewise.scene.alive)")) == alive

    check(left)
    page.change(k=120)
    check(scores.top(120))
    page.change(k=None)
    assert page.texts("#sides button") == ["edge-pruning", "difference", "eap"]
    page.click('[data-side="right"]')
    assert sorted(page("edgewise.names(edgewise.scene.kept)")) == list(right.edges)
    page.click('[data-side="left"]')
    assert sorted(page("edgewise.names(edgewise.scene.kept)")) == list(left.edges)


# --- notebooks -----------------------------------------------------------------------------------


def test_a_notebook_shows_the_page_in_a_frame(driver: webdriver.Chrome, tmp_path: Path) -> None:
    circuit = random_scores(GRAPH).top(200)
    file = tmp_path / "cell.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{circuit._repr_html_()}")
    driver.get(file.as_uri())
    driver.switch_to.frame(0)
    assert driver.execute_script("return edgewise.scene.n") == 200
    driver.switch_to.default_content()
    assert [e for e in driver.get_log("browser") if "iframe" in e["message"]] == []
    assert Circuit.full(Graph(12, 12, 12))._repr_html_() is None
