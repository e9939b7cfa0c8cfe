"""The page's circuit, in a real browser: what it counts and lists is what Python says."""

import itertools

import numpy as np
import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install edgewise[test]")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

import browser
from browser import Page
from edgewise.circuit import Circuit
from edgewise.graph import Graph
from pages import GRAPH, Open, a_report, random_scores

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))

GRAPHS = {
    "heads of their own keys": Graph(4, 5, 5),
    "shared keys": Graph(5, 6, 2),
    "one kv head, parallel": Graph(4, 4, 1, parallel=True),
    "split": Graph(3, 4, 4, embeddings="split"),
    "free": Graph(4, 4, 2, embeddings="free"),
    "coupled": Graph(4, 4, 2, coupled=True),
}


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


# --- size and speed ------------------------------------------------------------------------------


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
