"""Attention patterns as data and as a file."""

import json

import numpy as np
import pytest

from edgewise.attention import Attention, load, save
from edgewise.errors import ConfigError, RunError


def a_pattern(n_tokens: int = 4, seed: int = 0) -> Attention:
    generator = np.random.default_rng(seed)
    weights = np.tril(generator.random((2, 3, n_tokens, n_tokens)))
    weights = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
    tokens = tuple(f" {i}" for i in range(n_tokens))
    return Attention(tokens, ("a0.h1", "a2.h0", "a2.h3"), weights[0], weights[1])


def test_a_file_keeps_weights_to_half_a_step_of_255(tmp_path):
    written = [a_pattern(), a_pattern(1), a_pattern(7, seed=1)]
    assert save(written, tmp_path) == tmp_path / "attention.json"
    for one, again in zip(written, load(tmp_path), strict=True):
        assert (again.tokens, again.heads) == (one.tokens, one.heads)
        for side in ("full", "circuit"):
            np.testing.assert_allclose(getattr(again, side), getattr(one, side), atol=0.5 / 255)
            assert (np.triu(getattr(again, side), 1) == 0).all()
    assert load(save([], tmp_path / "none.json")) == ()


def test_a_weight_takes_a_byte_as_the_page_reads_it():
    """Head by head, query by query, keys up to the query, in base64: 4 characters for 3 bytes."""
    eye = np.eye(2, dtype=np.float32)[None]
    found = Attention(("a", "b"), ("a0.h0",), eye, eye * 0).to_json()
    assert found == {
        "tokens": ["a", "b"],
        "heads": ["a0.h0"],
        "full": "/wD/",  # ff 00 ff
        "circuit": "AAAA",
    }


def test_parts_that_do_not_fit_are_refused():
    square = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(
        ConfigError, match=r"'full' has shape \(1, 2, 2\), but 1 heads .*\(1, 1, 1\)"
    ):
        Attention(("a",), ("a0.h0",), square, square)
    with pytest.raises(ConfigError, match="2 heads"):
        Attention(("a", "b"), ("a0.h0", "a0.h1"), square, square)


def test_files_that_hold_no_patterns_are_refused(tmp_path):
    file = tmp_path / "attention.json"
    with pytest.raises(RunError, match="evaluate the run first"):
        load(tmp_path)
    good = a_pattern().to_json()
    for wrong, said in (
        ("{", "no JSON file"),
        ("{}", "must hold a list, not dict"),
        ("[1]", "no attention patterns"),
        (json.dumps([good | {"full": good["full"][4:]}]), "no attention patterns"),
        (json.dumps([good | {"full": "*"}]), "no attention patterns"),
        (json.dumps([{**good, "heads": None}]), "no attention patterns"),
    ):
        file.write_text(wrong)
        with pytest.raises(RunError, match=said) as caught:
            load(tmp_path)
        assert str(file) in str(caught.value)
        assert "delete it and evaluate the run again" in str(caught.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="no JSON file: 'utf-8' codec"):
        load(tmp_path)
