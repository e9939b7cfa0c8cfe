"""Compiled programs: Tracr's own model, number for number, and RASP's own meaning."""

import sys

import numpy as np
import pytest
import torch

import edgewise
from edgewise import tracr
from edgewise.errors import ConfigError
from edgewise.tracr.programs import HISTOGRAM
from programs import compiled

pytest.importorskip("tracr", reason="needs edgewise[tracr]")

each_program = pytest.mark.parametrize("name", tracr.PROGRAMS)


def ids_of(case: tracr.Compiled) -> torch.Tensor:
    return case.task.batch("test", range(len(case.program.sequences))).input_ids


@each_program
def test_every_logit_is_tracr_s_own(name: str) -> None:
    """With every edge kept, from the final stream of its jax model, on every sequence."""
    case = compiled(name)
    ids = ids_of(case)
    theirs = case.own.forward(case.own.params, ids.numpy())
    ours = edgewise.run(case.model, ids, None, ablation="zero").numpy()
    output = np.asarray(theirs.unembedded_output)
    if output.dtype == np.float32:
        values = np.array(case.answers)
        width = np.diff(values).min() / 2
        expected = output[..., None] * values / width**2 - values**2 / (2 * width**2)
        np.testing.assert_allclose(ours, expected, atol=1e-5 / width**2)
        nearest = np.abs(output[..., None] - values).argmin(-1)
    else:
        stream = np.asarray(theirs.transformer_output.output)
        weight = case.model.hf.unembed.weight.numpy()
        np.testing.assert_allclose(ours, stream @ weight.T, atol=1e-5)
        nearest = output
    np.testing.assert_array_equal(ours.argmax(-1), nearest)


@each_program
def test_every_answer_is_what_the_program_means(name: str) -> None:
    """By Tracr's interpreter of RASP, which knows no BOS; and `apply` gives the same for one."""
    from tracr.compiler import lib
    from tracr.rasp import rasp

    case = compiled(name)
    program = case.program.expression(rasp, lib)
    for sequence, example in zip(case.program.sequences, case.task.examples("test"), strict=True):
        found = [case.answers[i] for i in example.answers][1 - case.program.first :]
        meant = [float(y) for y in program(list(sequence))]  # a share of 0 is False there
        assert found == pytest.approx(meant, abs=1e-6)
    decoded = case.own.apply(["compiler_bos", *sequence]).decoded[1:]
    assert found == pytest.approx(decoded, abs=1e-6)  # of the last sequence


@each_program
def test_the_task_has_every_sequence_and_changes_every_token(name: str) -> None:
    case = compiled(name)
    examples = case.task.examples("train")
    assert len({e.clean for e in examples}) == len(case.program.vocabulary) ** case.program.length
    for example in examples:
        same = [a == b for a, b in zip(example.clean, example.corrupted, strict=True)]
        assert same == [True] + [False] * case.program.length
        assert example.positions == tuple(range(case.program.first, case.program.length + 1))


def test_the_published_sizes() -> None:
    """Layers, width, channels, MLP width and edges of arXiv 2406.16778's two programs."""
    for name, sizes in {"reverse": (4, 41, 12, 30, 94), "xproportion": (2, 14, 7, 1, 32)}.items():
        model = compiled(name).model
        c = model.config
        found = (c.num_hidden_layers, c.hidden_size, c.head_dim, c.intermediate_size)
        assert (*found, model.graph.n_edges) == sizes


def test_an_unknown_program() -> None:
    with pytest.raises(ConfigError, match="no program 'quicksort'; there are reverse, xproportion"):
        tracr.compiled("quicksort")


def test_without_tracr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tracr.compiler", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgewise\[tracr\]'"):
        tracr.compiled(HISTOGRAM)
