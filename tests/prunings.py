"""Edge Pruning of a small task, with any settings."""

from torch import Tensor

import toy
from edgewise.discovery import EdgePruning
from edgewise.runs import RunFolder, read_config

TASK = toy.task(6)
SMALL = {"density": 0.3, "steps": 4, "batch_size": 6, "precision": "model"}
EVERY = {"control": "lagrangian", "init": "open", "nodes": True, "init_log_alpha": 0.5}
OPEN = EVERY | {"init_log_alpha": 1000.0, "density": 1.0}  # every gate is 1 for certain


def pruning(**changes: object) -> EdgePruning:
    return EdgePruning(**SMALL | changes)


def saved(path: object, step: int) -> dict[str, Tensor]:
    """The checkpoint after `step` steps, which must be the newest."""
    found = RunFolder(path, read_config(path)).load_checkpoint()
    assert found is not None
    assert found[0] == step
    return found[1]
