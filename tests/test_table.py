import pytest

from edgewise.errors import ConfigError
from edgewise.table import aligned, filled, markdown, percent


def test_columns_are_aligned():
    assert aligned([["", "a"], ["long", "1"], ["x", "200"]]) == "        a\nlong    1\nx     200"


def test_shares_for_people():
    assert [percent(share) for share in (0, 0.02, 1, 0.00026901)] == ["0%", "2%", "100%", "0.0269%"]


def test_a_markdown_table():
    lines = [["circuit", "KL"], ["full", "0"], ["both", "1.5"]]
    expected = "| circuit | KL |\n| --- | --- |\n| full | 0 |\n| both | 1.5 |"
    assert markdown(lines) == expected


def test_what_is_between_two_marks_is_replaced():
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\n<!-- y: begin --><!-- y: end -->\n"
    once = filled(page, "x", "| new |")
    assert once == page.replace("\nold\n", "\n\n| new |\n\n")
    assert filled(once, "x", "| new |") == once
    for name in ("z", "end"):
        with pytest.raises(ConfigError, match=f"the page has no <!-- {name}: begin -->"):
            filled(page, name, "")
    with pytest.raises(ConfigError, match="followed by <!-- x: end -->"):
        filled("<!-- x: end --> <!-- x: begin -->", "x", "")
