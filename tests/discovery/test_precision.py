"""The dtype that a search runs in, on this machine and on others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from edgewise.discovery import EAP, Found, discover
from edgewise.errors import RunError
from edgewise.runs import read_config
from searches import BUDGET, TASK, Stop, records, stop_after, values


def hardware(monkeypatch: pytest.MonkeyPatch, multiplies_bfloat16: bool) -> None:
    where = "edgewise.discovery.search.multiplies_bfloat16"
    monkeypatch.setattr(where, lambda device: multiplies_bfloat16)


def searched_in(found: Found) -> str:
    return found.scores.provenance["search_dtype"]


AUTO = replace(BUDGET, precision="auto")


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa"])
@pytest.mark.parametrize("ablation", ["interchange", "mean"])
def test_a_search_in_bfloat16_finds_nearly_the_same(name, ablation, monkeypatch):
    hardware(monkeypatch, True)
    model = tiny.model(name)
    # Attribution ranks the many edges without effect of a random model by their rounding.
    start = {"init": "open", "init_log_alpha": 1.0}
    whole = discover(model, TASK, replace(BUDGET, **start), ablation=ablation)
    half = discover(model, TASK, replace(AUTO, **start), ablation=ablation)
    assert (searched_in(whole), searched_in(half)) == ("float32", "bfloat16")
    assert (model.dtype, model.hf.dtype) == (torch.float32, torch.float32)
    assert len(half.circuit) == len(whole.circuit)
    assert half.scores.values.dtype == np.float32
    assert np.corrcoef(half.scores.values, whole.scores.values)[0, 1] > 0.95
    assert not np.array_equal(half.scores.values, whole.scores.values)
    assert half.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=0.05)


def test_where_the_hardware_has_none_it_is_the_models(monkeypatch):
    hardware(monkeypatch, False)
    model = tiny.model("gpt2")
    found = discover(model, TASK, AUTO)
    assert searched_in(found) == "float32"
    np.testing.assert_array_equal(found.scores.values, discover(model, TASK, BUDGET).scores.values)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_another_dtype_is_the_users_choice(dtype, monkeypatch):
    hardware(monkeypatch, True)
    model = tiny.model("gpt2", dtype=dtype)
    assert searched_in(discover(model, TASK, AUTO)) == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("begun", [True, False], ids=["bfloat16", "float32"])
def test_a_search_goes_on_in_what_it_was_begun_in_on_any_machine(begun, monkeypatch, tmp_path):
    model, dtypes = tiny.model("gpt2"), {True: "bfloat16", False: "float32"}
    hardware(monkeypatch, begun)
    whole = discover(model, TASK, AUTO, out=tmp_path / "whole")
    with pytest.raises(Stop):
        discover(model, TASK, AUTO, out=tmp_path / "moved", progress=stop_after(7))
    assert read_config(tmp_path / "moved")["search_dtype"] == dtypes[begun]
    hardware(monkeypatch, not begun)
    with pytest.warns(UserWarning, match=rf"was begun in {dtypes[begun]}.*goes on as begun"):
        found = discover(model, TASK, AUTO, out=tmp_path / "moved")
    assert searched_in(found) == searched_in(whole) == dtypes[begun]
    assert values(tmp_path / "moved") == values(tmp_path / "whole")
    assert records(tmp_path / "moved") == records(tmp_path / "whole")
    again = discover(model, TASK, AUTO, out=tmp_path / "moved")  # finished: nothing to warn of
    assert again.circuit == whole.circuit
    with pytest.raises(RunError, match=r"method\.precision"):
        discover(model, TASK, BUDGET, out=tmp_path / "moved")
    discover(model, TASK, AUTO, out=tmp_path / "moved", overwrite=True)
    assert read_config(tmp_path / "moved")["search_dtype"] == dtypes[not begun]


def test_a_run_from_before_dtypes_were_recorded_goes_on(monkeypatch, tmp_path):
    model = tiny.model("gpt2")
    hardware(monkeypatch, False)
    with pytest.raises(Stop):
        discover(model, TASK, AUTO, out=tmp_path, progress=stop_after(7))
    config = read_config(tmp_path)
    del config["search_dtype"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert searched_in(discover(model, TASK, AUTO, out=tmp_path)) == "float32"


def test_attribution_is_in_the_models_dtype(monkeypatch):
    hardware(monkeypatch, True)
    assert searched_in(discover(tiny.model("gpt2"), TASK, EAP(density=0.5))) == "float32"
