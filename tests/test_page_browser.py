"""The page, in a real browser: what it counts, lists and compares is what Python says."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install edgewise[test]")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

import browser
from browser import Page
from edgewise.attention import Attention
from edgewise.circuit import Circuit
from edgewise.estimate import Estimate
from edgewise.graph import Graph
from edgewise.page import view
from edgewise.report import Report, Row, Sample
from edgewise.scores import EdgeScores

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))

GRAPH = Graph(6, 6, 2)
GRAPHS = {
    "heads of their own keys": Graph(4, 5, 5),
    "shared keys": Graph(5, 6, 2),
    "one kv head, parallel": Graph(4, 4, 1, parallel=True),
    "split": Graph(3, 4, 4, embeddings="split"),
    "free": Graph(4, 4, 2, embeddings="free"),
    "coupled": Graph(4, 4, 2, coupled=True),
}

Open = Callable[..., Page]
LOCAL = ("file:", "data:", "chrome:")  # the browser's own first tab is chrome:


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with browser.chromium() as driver:
        yield driver


@pytest.fixture
def open_page(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[Open]:
    """Opens `view(circuit, ...)`; at the end, no complaint and no request may have been made."""
    opened = []

    def open_page(circuit: Circuit, **arguments: object) -> Page:
        file = tmp_path / f"page{len(opened)}.html"
        opened.append(Page(driver, view(circuit, file, **arguments)))
        return opened[-1]

    yield open_page
    for page in opened:
        assert page.complaints() == []
        assert [url for url in page.requests() if not url.startswith(LOCAL)] == []


def random_scores(graph: Graph, seed: int = 0, levels: int | None = None) -> EdgeScores:
    """Log-normal by writer and reader, so that circuits hang together; `levels` makes ties."""
    generator = np.random.default_rng(seed)
    writers, readers = (
        generator.normal(size=graph.n_writers),
        generator.normal(size=graph.n_readers),
    )
    values = writers[graph.writer_of] + readers[graph.reader_of]
    values = values + 0.5 * generator.normal(size=graph.n_edges)
    if levels is not None:
        values = np.round(values * levels) / levels
    return EdgeScores(graph, values.astype(np.float32))


def a_report(graph: Graph, circuit: Circuit, points: list[int]) -> Report:
    def estimates(shift: float) -> dict[str, Estimate]:
        return {
            "kl": Estimate(0.5 + shift, 0.4 + shift, 0.6 + shift),
            "exact_match": Estimate(0.75, 0.7, 0.8),
        }

    n, alive = len(circuit), int(circuit.alive.sum())
    rows = {
        "circuit": Row(n, alive, circuit.density, estimates(0.0)),
        "full": Row(graph.n_edges, graph.n_edges, 1.0, estimates(-0.4)),
        "empty": Row(0, 0, 0.0, estimates(2.0)),
    }

    def point(k: int, kl: float, match: float) -> Row:
        found = {"kl": Estimate(kl, 0.9 * kl, 1.1 * kl), "exact_match": Estimate(match, 0.2, 0.9)}
        return Row(k, k, k / graph.n_edges, found)

    curve = tuple(point(k, 2 / (1 + i), 0.3 + 0.1 * i) for i, k in enumerate(points))
    sample = Sample(
        "A </script><b>bold</b> claim by", "Another claim by", " Mary",
        ((" Mary", 0.8), (" John", 0.1)), ((" John", 0.5), (" Mary", 0.4)),
    )  # fmt: skip
    return Report(
        "tiny", "ioi", "test", "interchange", 64, graph.n_edges, rows, (sample,), {"value": curve}
    )


def set_slider(page: Page, stop: int) -> None:
    page(
        "(a.value = b, a.dispatchEvent(new Event('input', { bubbles: true })))",
        page.find("#slider"),
        stop,
    )
    page.settle()


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_the_slider_keeps_the_edges_that_top_keeps(open_page: Open, name: str) -> None:
    """Names, counts and aliveness, with many ties at the cut."""
    graph = GRAPHS[name]
    scores = random_scores(graph, levels=4)
    page = open_page(scores.top(30), scores=scores)
    for k in (1, 2, 17, 60, 150, graph.n_edges // 2, graph.n_edges):
        page.change(k=k)
        expected = scores.top(k)
        assert page.number("#n-edges") == k
        assert page.number("#n-alive") == int(expected.alive.sum())
        assert sorted(page("edgewise.names(edgewise.scene.kept)")) == list(expected.edges)
        assert sorted(page("edgewise.names(edgewise.scene.alive)")) == list(expected.pruned().edges)
    page.click("#saved")
    assert sorted(page("edgewise.names(edgewise.scene.kept)")) == list(scores.top(30).edges)


def test_dragging_the_slider_draws_what_python_counts(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    page = open_page(scores.top(100), scores=scores)
    last = int(page.find("#slider").get_attribute("max"))
    for stop in (0, last // 3, last // 2, last):
        set_slider(page, stop)
        k = page.number("#n-edges")
        assert page("edgewise.scene.drawn.length") == int(scores.top(k).alive.sum())
    assert k == GRAPH.n_edges
    field = page.find("#k")
    field.clear()
    field.send_keys("123", Keys.ENTER)
    page.settle()
    assert page.number("#n-edges") == 123
    assert "123 edges" in page.find("#slider").get_attribute("aria-valuetext")


def test_magnitudes_rank_as_in_python(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    page = open_page(scores.top(80, by="magnitude"), scores=scores)
    page.change(k=140)
    expected = scores.top(140, by="magnitude").edges
    assert sorted(page("edgewise.names(edgewise.scene.kept)")) == list(expected)


def test_a_circuit_without_scores_has_no_slider(open_page: Open) -> None:
    circuit = Circuit.random(GRAPH, 200, seed=3)
    page = open_page(circuit)
    assert not page.find("#slider").is_displayed()
    assert page.number("#n-edges") == 200
    assert sorted(page("edgewise.names(edgewise.scene.alive)")) == list(circuit.pruned().edges)


def test_filters_hide_edges_but_count_all(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    circuit = scores.top(300)
    page = open_page(circuit, scores=scores)
    alive = np.flatnonzero(circuit.alive)
    kinds = np.array([reader.rstrip(">").partition("<")[2] for reader in GRAPH.readers])
    values = kinds[GRAPH.reader_of[alive]] == "v"
    assert page.number('[data-chip="v"] .num') == int(values.sum())
    page.click('[data-chip="v"]')
    drawn = "edgewise.scene.drawn.length"
    assert page(drawn) == int((~values).sum())
    assert page.number("#n-alive") == alive.size
    page.click('[data-chip="v"]')
    page.change(least=max(page("edgewise.scene.drawn.map((place) => edgewise.data.scores[place])")))
    assert page(drawn) == 1
    page.change(least=None, **{"from": 2, "to": 3})
    layers = [int(name[1]) if name != "logits" else 5 for name in GRAPH.readers]
    assert page(drawn) == int(np.isin(np.array(layers)[GRAPH.reader_of[alive]], (2, 3)).sum())
    page.click("#filters summary")
    page.click("#clear")
    assert page(drawn) == alive.size
    page.click("#dead")
    assert page(drawn) == 300


# --- components ----------------------------------------------------------------------------------


def listed(page: Page, which: str) -> list[str]:
    while page.driver.find_elements("css selector", ".more"):
        page.click(".more")
    return page(
        "[...document.querySelectorAll(a)].map((row) => row.dataset.edge)",
        f"#edges-{which} tbody tr",
    )


@pytest.mark.parametrize("name", ["a3.h4", "m2", "input", "logits"])
def test_clicking_a_node_lists_exactly_its_edges(open_page: Open, name: str) -> None:
    scores = random_scores(GRAPH)
    circuit = scores.top(500)
    page = open_page(circuit, scores=scores)
    page.node(name).click()
    page.settle()
    alive = circuit.pruned().edges
    # a3.h4 reads the keys and values of its kv head, 4 // 3 = 1
    ports = ("a3.h4<q>", "a3.h1<k>", "a3.h1<v>") if name == "a3.h4" else (name,)
    assert sorted(listed(page, "in")) == [e for e in alive if e.split("->")[1] in ports]
    assert sorted(listed(page, "out")) == [e for e in alive if e.split("->")[0] == name]
    assert page.texts("#component h2") == [name]
    assert page.node(name).get_attribute("aria-pressed") == "true"


def test_heads_are_dark_that_have_edges_of_their_own(open_page: Open) -> None:
    """Keys and values that others of their group read make none of them so."""
    circuit = random_scores(GRAPH).top(60)
    page, alive = open_page(circuit), circuit.pruned().edges
    own = {edge.split("->")[0] for edge in alive}
    own |= {edge.split("->")[1].removesuffix("<q>") for edge in alive if edge.endswith("<q>")}
    heads = [f"a{layer}.h{head}" for layer in range(6) for head in range(6)]
    dark = {name for name in heads if page.node(name).get_attribute("data-level") != "0"}
    assert dark == own & set(heads)
    groups = {edge.split("->")[1][:-3] for edge in alive if edge[-3:] in ("<k>", "<v>")}
    fed = {f"{g[:-1]}{3 * int(g[-1]) + i}" for g in groups for i in range(3)}
    assert fed - dark


def test_paths_are_those_of_python(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    circuit = scores.top(140)
    page = open_page(circuit, scores=scores)
    every = circuit.pruned().paths(limit=10**6)
    for name in ("a3.h4", "m1", "a5.h0", "logits"):
        through = [path for path in every if name in path]
        page.node(name).click()
        page.settle()
        shown = [tuple(text.split("→")) for text in page.texts(".path")]
        assert len(set(shown)) == len(shown) == min(8, len(through))
        assert set(shown) <= set(through)
        assert sorted(map(len, shown)) == sorted(map(len, through))[: len(shown)]
        if through:
            assert page.texts(".paths h3 .soft") == [f"{len(through):,}"]
    page.click(".path")
    assert page("document.querySelectorAll('.node[data-near=near]').length") == len(shown[0])


def test_search_finds_components(open_page: Open) -> None:
    page = open_page(random_scores(GRAPH).top(300))
    page.find("#search").send_keys("a4.h2")
    page.settle()
    assert page.texts("#component h2") == ["a4.h2"]
    page.find("#search").send_keys("99")
    page.settle()
    assert page.find("#search").get_attribute("aria-invalid") == "true"


def test_all_can_be_done_with_the_keyboard(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    page = open_page(
        scores.top(300), scores=scores, report=a_report(GRAPH, scores.top(300), [20, 90])
    )

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()
        page.settle()

    def focused() -> str:
        return page(
            "document.activeElement.id || document.activeElement.className.baseVal || "
            "document.activeElement.dataset.chip || document.activeElement.tagName"
        )

    met = []
    for _ in range(40):
        press(Keys.TAB)
        met.append(focused())
    needed = {"search", "theme", "wide", "help", "slider", "k", "q", "mlp", "dead", "tab-report"}
    assert needed <= set(met)
    assert sum("node" in name for name in met[: met.index("tab-report")]) == 1  # one stop for all
    page("a.focus()", page.node("logits"))
    press(Keys.ARROW_DOWN)
    first = page("document.activeElement.dataset.component")
    press(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    assert page("document.activeElement.dataset.component") != first
    press(Keys.ENTER)
    name = page("document.activeElement.getAttribute('aria-label')").split(",")[0]
    assert page.texts("#component h2") == [name]
    press(Keys.ESCAPE)
    assert page("edgewise.state.selected") is None
    press("]")
    assert page("edgewise.state.k") > 300
    press("d")
    assert page("edgewise.state.dead") is True
    press("/", "m3")
    assert page.texts("#component h2") == ["m3"]


def test_hovering_lights_up_a_node_and_its_edges(open_page: Open) -> None:
    page = open_page(random_scores(GRAPH).top(300))
    ActionChains(page.driver).move_to_element(page.node("m2")).perform()
    page.settle()
    assert page.find("#tip").text.startswith("m2")
    assert "focused" in page.find("#graph").get_attribute("class")


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


def patterns(n_tokens: int = 5, seed: int = 0) -> Attention:
    weights = np.random.default_rng(seed).random((2, 3, n_tokens, n_tokens))
    tokens = tuple(f" t{i}" for i in range(n_tokens))
    return Attention(tokens, ("a4.h1", "a1.h5", "a1.h2"), *weights.astype(np.float32))


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


# --- size and speed ------------------------------------------------------------------------------


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


def test_five_thousand_edges_follow_the_slider(open_page: Open) -> None:
    """Every frame of a drag draws its own stop; `benchmarks/page.py` says how fast."""
    scores = random_scores(Graph(12, 12, 12))
    page = open_page(scores.top(5000), scores=scores)
    script = """
        const done = arguments[0], drawn = [];
        let k = 4900;
        const frame = () => {
          if (k > 4900) drawn.push([edgewise.scene.n, edgewise.scene.drawn.length]);
          k += 10;
          edgewise.change({ k });
          if (k <= 5000) requestAnimationFrame(frame); else done(drawn);
        };
        requestAnimationFrame(frame);
    """
    drawn = page.driver.execute_async_script(script)
    circuits = [scores.top(k) for k in range(4910, 5010, 10)]
    assert drawn == [[len(one), int(one.alive.sum())] for one in circuits]


def test_places_do_not_depend_on_the_circuit(open_page: Open) -> None:
    scores = random_scores(GRAPH)
    places = []
    for k in (10, 600):
        page = open_page(scores.top(k), scores=scores)
        places.append(
            page("[...document.querySelectorAll('.node')].map((n) => n.getAttribute('transform'))")
        )
    assert all(a == b for a, b in itertools.pairwise(places))
