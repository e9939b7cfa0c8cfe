"""Fields that can't be meant, of every method but Edge Pruning, are refused before any work."""

import math
import re

import numpy as np
import pytest

import tiny
import toy
from edgewise.discovery import ACDC, EAP, EAPIG, ExactPatching, Magnitude, Random, discover
from edgewise.errors import ConfigError
from unchecked import unchecked


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (EAP(density=0.0), "density"),
        (EAP(density=1.01), "density"),
        (EAP(density=math.nan), "density"),
        (EAP(density=None), "density=None, edges=None"),
        (EAP(density=0.1, edges=3), "not both: density=0.1, edges=3"),
        (EAP(edges=76), "edges=76: the graph has 75"),
        (EAP(density=None, edges=0), "edges"),
        (EAP(density=None, edges=76), "edges"),
        (EAP(batch_size=0), "batch_size"),
        (EAP(prompts=0), "prompts"),
        (EAP(prompts=-1), "prompts"),
        (EAPIG(steps=0), "steps"),
        (EAPIG(batch_size=0), "batch_size"),
        (EAPIG(prompts=0), "prompts"),
        (EAPIG(density=2.0), "density"),
        (EAPIG(metric="kl", steps=1), "the full model, where KL has no gradient; take at least"),
        (ACDC(threshold=-0.01), "threshold=-0.01: it must be above 0"),
        (ACDC(threshold=0.0), "threshold=0.0: it must be above 0, such as 0.01"),
        (ACDC(threshold=math.nan), "threshold=nan: it must be a finite number"),
        (ACDC(threshold=math.inf), "threshold=inf"),
        (ACDC(prompts=0), "prompts"),
        (ACDC(batch_size=0), "batch_size"),
        (ACDC(trials=0), "trials"),
        (ExactPatching(density=0.0), "density"),
        (ExactPatching(density=0.1, edges=3), "not both"),
        (ExactPatching(prompts=0), "prompts"),
        (ExactPatching(batch_size=0), "batch_size"),
        (ExactPatching(trials=0), "trials"),
        (ExactPatching(density=math.nan), "density"),
        (Random(density=0.0), "density"),
        (Random(density=0.1, edges=3), "not both"),
        (Magnitude(density=2.0), "density"),
        (Magnitude(prompts=0), "prompts"),
        (Magnitude(batch_size=0), "batch_size"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(method, field, tmp_path):
    with pytest.raises(ConfigError, match=field):
        discover(tiny.model("gpt2"), toy.task(5), method, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        (EAP, {"density": "0.5"}, "density='0.5': it must be float or None, not str"),
        (EAP, {"prompts": 2.5}, "prompts=2.5: it must be int or None, not float"),
        (EAP, {"batch_size": True}, "batch_size=True: it must be int, not bool"),
        (EAP, {"metric": "kl"}, "metric='kl': it must be 'logit_difference' or 'probability_diff"),
        (ACDC, {"threshold": None}, "threshold=None: it must be float, not NoneType"),
        (Random, {"density": None, "edges": 3.0}, "edges=3.0: it must be int or None"),
    ],
)
def test_values_of_another_type_are_refused(method, fields, said):
    with unchecked(), pytest.raises(ConfigError, match=re.escape(said)):
        method(**fields).check()


def test_numbers_of_numpy_are_numbers(tmp_path):
    with unchecked():
        method = Random(density=None, edges=np.int64(70))
        found = discover(tiny.model("gpt2"), toy.task(5), method, out=tmp_path / "run")
        again = discover(tiny.model("gpt2"), toy.task(5), method, out=tmp_path / "run")
    assert found.circuit == again.circuit
    assert len(found.circuit) == 70
