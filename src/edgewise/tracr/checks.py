"""A compiled program's circuit, from its weights: the edges that can't be missed.

A circuit is *exact* if with absent edges at zero it answers every sequence as the full model does,
at every position that counts. An edge of a circuit is *needed* if without it the circuit no longer
is. The edges that the full model needs, one by one, are the truth if together they are exact and
need one another: if what is exact stays exact with more edges, every exact circuit then holds them
all, and there is no other of this kind.
"""

import numpy as np
import torch

from edgewise.circuit import Circuit
from edgewise.errors import ModelError
from edgewise.stream import as_mask
from edgewise.tracr.compiling import Compiled


@torch.no_grad()
def exact(case: Compiled, circuit: Circuit) -> bool:
    """Whether the circuit gives the full model's answer everywhere."""
    ready = case.everything
    logits = ready.logits(as_mask(case.model, circuit), live=True)
    return torch.equal(logits.argmax(-1), ready.full.argmax(-1))


def needed(case: Compiled, circuit: Circuit) -> Circuit:
    """The circuit's edges without any one of which it isn't exact."""
    found = np.zeros_like(circuit.kept)
    for edge in np.flatnonzero(circuit.kept):
        rest = circuit.kept.copy()
        rest[edge] = False
        found[edge] = not exact(case, Circuit(circuit.graph, rest))
    return Circuit(circuit.graph, found)


def truth(case: Compiled) -> Circuit:
    """The program's circuit; ModelError if the edges that it needs are not one."""
    found = needed(case, Circuit.full(case.model.graph))
    if not exact(case, found) or needed(case, found) != found:
        raise ModelError(
            f"{case.program.name}: the {len(found)} edges that the full model can't miss one by "
            "one are no minimal exact circuit: there are several, and none is the truth"
        )
    return found
