"""Find the circuit that a model uses for a task: `discover(model, task, method)`."""

from edgewise.discovery.attribution import EAP, EAPIG
from edgewise.discovery.edge_pruning import EdgePruning
from edgewise.discovery.found import Found, Method
from edgewise.discovery.search import discover

__all__ = ["EAP", "EAPIG", "METHODS", "EdgePruning", "Found", "Method", "discover"]

METHODS: dict[str, type] = {method.name: method for method in (EdgePruning, EAP, EAPIG)}
