"""Find the circuit that a model uses for a task: `discover(model, task, method)`."""

from edgewise.discovery.acdc import ACDC
from edgewise.discovery.attribution import EAP, EAPIG
from edgewise.discovery.edge_pruning import EdgePruning
from edgewise.discovery.exact import ExactPatching
from edgewise.discovery.found import Found, Method
from edgewise.discovery.magnitude import Magnitude
from edgewise.discovery.random import Random
from edgewise.discovery.search import discover

__all__ = [
    "ACDC",
    "EAP",
    "EAPIG",
    "METHODS",
    "EdgePruning",
    "ExactPatching",
    "Found",
    "Magnitude",
    "Method",
    "Random",
    "discover",
]

METHODS: dict[str, type] = {
    method.name: method
    for method in (EdgePruning, EAP, EAPIG, ACDC, ExactPatching, Magnitude, Random)
}
