from edgewise.table import aligned, percent


def test_columns_are_aligned():
    assert aligned([["", "a"], ["long", "1"], ["x", "200"]]) == "        a\nlong    1\nx     200"


def test_shares_for_people():
    assert [percent(share) for share in (0, 0.02, 1, 0.00026901)] == ["0%", "2%", "100%", "0.0269%"]
