"""What `evaluate` and `measured` refuse, and what to do about it."""

import numpy as np
import pytest
import torch

import tiny
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError, DataError, GraphError, NonFiniteError
from edgewise.evaluation import evaluate, measured
from edgewise.graph import Graph
from edgewise.models.model import build
from edgewise.scores import EdgeScores
from edgewise.tasks import Task
from test_evaluation import TASK, half
from unchecked import unchecked


def test_splits_that_are_not_there() -> None:
    model = tiny.model("gpt2")
    with pytest.raises(DataError, match="split 'validation' is empty"):
        evaluate(model, TASK, half(model), "validation")
    with pytest.raises(DataError, match="split 'dev' does not exist"):
        evaluate(model, TASK, half(model), "dev")
    only = Task("toy", {"test": TASK.examples("test")}, pad_id=0)
    with pytest.raises(DataError, match="mean ablation averages over corrupted prompts of toy: "):
        evaluate(model, only, half(model), ablation="mean")


def test_what_belongs_to_another_graph() -> None:
    model, graph = tiny.model("gpt2"), Graph(1, 1, 1)
    with pytest.raises(GraphError, match="circuit is of Graph"):
        evaluate(model, TASK, Circuit.full(graph))
    with pytest.raises(GraphError, match="eap is of Graph"):
        evaluate(model, TASK, half(model), baselines={"eap": Circuit.full(graph)})
    with pytest.raises(GraphError, match="scores are of Graph"):
        evaluate(model, TASK, half(model), scores=EdgeScores(graph, np.zeros(8, np.float32)))


def test_what_is_no_circuit_task_or_model() -> None:
    model = tiny.model("gpt2")
    with unchecked():
        for circuit, said in (
            ("runs/t-ep", r"circuit is 'runs/t-ep', .* edgewise\.Circuit\.load\('runs/t-ep'\)"),
            (
                EdgeScores(model.graph, np.ones(model.graph.n_edges)),
                r"type found\.circuit or scores",
            ),
        ):
            with pytest.raises(ConfigError, match=said):
                evaluate(model, TASK, circuit)
        with pytest.raises(ConfigError, match="eap is 'runs/eap', not a Circuit"):
            evaluate(model, TASK, half(model), baselines={"eap": "runs/eap"})
        with pytest.raises(ConfigError, match=r"edgewise\.tasks\.make\('ioi', model\.tokenizer\)"):
            evaluate(model, "ioi", half(model))
        with pytest.raises(ConfigError, match="GPT2LMHeadModel, not an edgewise Model"):
            measured(model.hf, TASK, [half(model)])


def test_arguments_that_can_t_be_meant() -> None:
    model = tiny.model("gpt2")
    with unchecked(), pytest.raises(ConfigError, match="'mean' or 'zero', not 'patch'"):
        evaluate(model, TASK, half(model), ablation="patch")
    with pytest.raises(ConfigError, match=r"rows \['random'\] of its own"):
        evaluate(model, TASK, half(model), baselines={"random": half(model)})
    with pytest.raises(ConfigError, match="densities need scores"):
        evaluate(model, TASK, half(model), densities=(0.1,))
    with pytest.raises(ConfigError, match="by='magnitude' needs scores"):
        evaluate(model, TASK, half(model), by="magnitude")
    with pytest.raises(ConfigError, match="seed=-1: it must be 0 or more"):
        evaluate(model, TASK, half(model), seed=-1)
    with pytest.raises(ConfigError, match="seed=-1: it must be 0 or more"):
        measured(model, TASK, [half(model)], seed=-1)
    with pytest.raises(ConfigError, match="samples=-1: it must be 0 or more"):
        evaluate(model, TASK, half(model), samples=-1)
    with pytest.raises(ConfigError, match="batch size 0"):
        evaluate(model, TASK, half(model), batch_size=0)


def test_values_that_are_not_finite() -> None:
    hf = tiny.gpt2()
    hf.transformer.h[1].mlp.c_proj.bias[3] = torch.inf
    broken = build(hf, None, "broken", tiny.GPT2, "joint")
    with pytest.raises(NonFiniteError, match=r"kl of <Circuit of .* is not finite"):
        evaluate(broken, TASK, half(broken))
