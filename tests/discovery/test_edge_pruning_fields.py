"""Edge Pruning's fields: the paper's preset, and what is refused."""

import math
from dataclasses import asdict, dataclass

import pytest

import tiny
import toy
from edgewise.discovery import EdgePruning, discover
from edgewise.discovery.edge_pruning import PAPER_TARGETS
from edgewise.errors import ConfigError
from edgewise.graph import Graph
from edgewise.ops import gates
from unchecked import unchecked

TASK = toy.task(6)

# The paper's preset

PUBLISHED = {
    "steps": 3000,
    "batch_size": 32,
    "lr": 0.8,
    "lr_multiplier": 0.8,
    "warmup": 200,
    "lr_floor": 0.0,  # linear, to 0 at the last step
    "sparsity_warmup": 2500,
    "schedule": "linear",
    "weight_decay": 0.01,  # AdamW's default
    "clip": 1.0,  # the trainer's default
    "init": "open",
    "init_log_alpha": 10.0,
    "nodes": True,  # node gates, without a node loss
    "control": "lagrangian",
    "rounding": "threshold",  # the sparsity of the mean gate
    "precision": "model",  # float32
}
_HIGH = ".95 .955 .96 .965 .97 .975 .98 .985 .99 .995 1"
_SWEEPS = {
    "ioi": f".94 .945 {_HIGH} 1.01 1.02 1.05 1.1",
    "greater-than": f"{_HIGH} 1.01 1.02 1.05 1.1",
    "gendered-pronoun": f".93 .94 .945 {_HIGH} 1.05 1.1 1.15 1.2 1.4",
}
SWEEPS = {task: [float(target) for target in text.split()] for task, text in _SWEEPS.items()}
SWEEPS["ioi-t1"] = SWEEPS["ioi"]  # for which the IOI script can be used


def test_the_papers_preset():
    given = asdict(EdgePruning.paper())
    assert {name: given[name] for name in PUBLISHED} == PUBLISHED
    assert (gates.BETA, gates.LEFT, gates.RIGHT) == (2 / 3, -0.1, 1.1)
    assert EdgePruning.paper() == EdgePruning.paper("ioi")


@pytest.mark.parametrize("task", sorted(SWEEPS))
def test_its_target_is_in_the_middle_of_the_sweep(task):
    target, sweep = EdgePruning.paper(task).target_sparsity, SWEEPS[task]
    assert set(PAPER_TARGETS) == set(SWEEPS)
    assert abs(sweep.index(target) - (len(sweep) - 1) / 2) <= 1


def test_changes_to_it_and_tasks_it_lacks():
    changed = EdgePruning.paper("greater-than", steps=9, target_sparsity=1.1)
    assert (changed.steps, changed.target_sparsity, changed.warmup) == (9, 1.1, 200)
    with pytest.raises(ConfigError, match="no task 'capitals'; it has ioi, ioi-t1"):
        EdgePruning.paper("capitals")


@pytest.mark.parametrize("size", [{"density": 0.5}, {"density": None, "edges": 4}])
def test_a_size_does_not_move_its_target_unseen(size):
    said = r"ends at target_sparsity=0\.98, .*give another target_sparsity"
    with pytest.raises(ConfigError, match=said):
        EdgePruning.paper("ioi", **size)
    given = EdgePruning.paper("ioi", **size, target_sparsity=None)  # as the size says
    assert given.sparsity_target(Graph(1, 1, 1)) == 0.5  # of 8 edges


# What is refused

LAGRANGIAN = {"control": "lagrangian"}
REFUSED = [
    ({"density": 0.0}, "density=0.0"),
    ({"density": -0.1}, "density=-0.1"),
    ({"density": 1.5}, "density=1.5"),
    ({"density": math.nan}, "density=nan"),
    ({"density": None}, "density or for a number"),
    ({"density": 0.1, "edges": 10}, "density or for a number"),
    ({"density": None, "edges": 0}, "edges=0"),
    ({"density": None, "edges": 76}, "edges=76: the graph has 75"),
    ({"steps": 0}, "steps=0"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"init_prompts": 0}, "init_prompts=0"),
    ({"init_steps": 0}, "init_steps=0"),
    ({"spread": -1.0}, "spread=-1.0"),
    ({"noise": -0.1}, "noise=-0.1"),
    ({"temperature": 0.0}, "temperature=0.0"),
    ({"final_temperature": 0.0}, "final_temperature=0.0"),
    ({"start_density": 0.0}, "start_density=0.0"),
    ({"start_density": 1.1}, "start_density=1.1"),
    ({"reach": 1.1}, "reach=1.1"),
    ({"reach": -0.1}, "reach=-0.1"),
    ({"lr": -1.0}, "lr=-1.0"),
    ({"lr": math.nan}, "lr=nan"),
    ({"lr": math.inf}, "lr=inf"),
    ({"warmup": -1}, "warmup=-1"),
    ({"lr_floor": 2.0}, "lr_floor=2.0"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1"),
    ({"clip": 0.0}, "clip=0.0"),
    ({"clip": -1.0}, "clip=-1.0"),
    ({"nodes": True}, "nodes=True is for control='lagrangian'"),
    ({"rounding": "threshold"}, "rounding='threshold' is for control='lagrangian'"),
    (LAGRANGIAN | {"target_sparsity": math.nan}, "target_sparsity=nan"),
    (LAGRANGIAN | {"target_sparsity": -0.5}, "target_sparsity=-0.5"),
    (LAGRANGIAN | {"target_sparsity": 1.1, "schedule": "logarithmic"}, "below 1, not 1.1"),
    (LAGRANGIAN | {"sparsity_warmup": -1}, "sparsity_warmup=-1"),
    (LAGRANGIAN | {"lr_multiplier": -0.1}, "lr_multiplier=-0.1"),
    (LAGRANGIAN | {"init": "open", "init_log_alpha": math.nan}, "init_log_alpha=nan"),
    ({"sparsity_warmup": 50}, "sparsity_warmup=50 is for control='lagrangian'.* leave it 0"),
    (LAGRANGIAN | {"noise": 0.3}, "noise=0.3 is for control='budget'.* leave it 0.0"),
    ({"control": "none"}, "control='none'"),
    ({"init": "random"}, "init='random'"),
    ({"schedule": "cosine"}, "schedule='cosine'"),
    ({"rounding": "up"}, "rounding='up'"),
    ({"precision": "float16"}, "precision='float16'"),
    ({"cache_gb": -1.0}, "cache_gb=-1.0"),
    ({"checkpoint_every": 0}, "checkpoint_every=0"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_values_that_cannot_be_meant_are_refused_before_any_work(changes, says, tmp_path):
    with unchecked(), pytest.raises(ConfigError, match=says):
        discover(tiny.model("gpt2"), TASK, EdgePruning(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_field_is_refused_something():
    """But for those of which any value can be meant."""
    given = {name for changes, _ in REFUSED for name in changes}
    assert set(asdict(EdgePruning())) - given == set()


def test_a_method_that_there_is_not():
    @dataclass(frozen=True)
    class Guess:
        name = "guess"

        def check(self, graph: object) -> None: ...

    with unchecked(), pytest.raises(ConfigError, match="takes one of EdgePruning, EAP, EAPIG"):
        discover(tiny.model("gpt2"), TASK, Guess())
