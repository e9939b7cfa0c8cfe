"""Tracr's programs, each compiled once for all tests."""

from functools import cache

import pytest

from edgewise import tracr


@cache
def compiled(name: str) -> tracr.Compiled:
    pytest.importorskip("tracr", reason="needs edgewise[tracr]")
    return tracr.compiled(name)
