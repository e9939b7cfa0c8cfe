"""Peaks of memory are of the work that is watched, not of what came before."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgewise.peak import RESET, Peak

MB = 1_000_000


@pytest.fixture
def resettable():
    try:
        RESET.write_text("5")
    except OSError:
        pytest.skip("the high-water mark can't be set back here")


@pytest.mark.usefixtures("resettable")
def test_a_peak_is_of_the_work_alone():
    torch.ones(200 * MB, dtype=torch.uint8)  # before
    peak = Peak.begin(torch.device("cpu"))
    nothing = peak.n_bytes()
    torch.ones(60 * MB, dtype=torch.uint8)
    some = peak.n_bytes()
    torch.ones(120 * MB, dtype=torch.uint8)
    most = peak.n_bytes()
    assert some - nothing == pytest.approx(60 * MB, abs=10 * MB)
    assert most - nothing == pytest.approx(120 * MB, abs=10 * MB)
    assert peak.n_bytes() == most
    assert Peak.begin(torch.device("cpu")).n_bytes() < most - 100 * MB


def test_without_the_kernels_help_it_is_the_whole_processs(monkeypatch):
    monkeypatch.setattr("edgewise.peak.STATUS", Path("nowhere"))
    monkeypatch.setattr("edgewise.peak.RESET", Path("nowhere") / "either")
    found = Peak.begin(torch.device("cpu")).n_bytes()
    if sys.platform == "win32":
        assert found is None
    else:
        assert found > 50 * MB  # python and torch


def test_it_is_in_bytes():
    code = "import torch; from edgewise.peak import Peak; kept = torch.ones(300_000_000 // 4)\n"
    code += "print(Peak.begin(torch.device('cpu')).n_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 300 * MB < int(done.stdout) < 1500 * MB
