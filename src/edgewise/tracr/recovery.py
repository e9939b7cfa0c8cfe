"""How much of a known circuit a method finds, and Edge Pruning's settings to find all of it."""

from edgewise.circuit import Circuit
from edgewise.discovery import EdgePruning


def precision(found: Circuit, truth: Circuit) -> float:
    """The share of what was found that is true; 1 for an empty circuit."""
    return len(found & truth) / len(found) if len(found) else 1.0


def recall(found: Circuit, truth: Circuit) -> float:
    """The share of what is true that was found."""
    return len(found & truth) / len(truth)


def edge_pruning(edges: int) -> EdgePruning:
    """Edge Pruning for compiled programs: the default, but from all edges, on the model as it is.

    Attention here is hard and MLPs are steps, so most edges have no gradient at the full model,
    true ones among them: the scores that gates start from can't tell which may be closed at once.
    """
    return EdgePruning(density=None, edges=edges, start_density=1.0, precision="model")
