"""Models whose circuit is known: RASP programs that Tracr compiles to transformers.

    case  = tracr.compiled("reverse")          a model and a task, of all sequences
    truth = tracr.truth(case)                  its circuit, from the weights alone
    method = tracr.edge_pruning(len(truth))    or any other
    found = edgewise.discover(case.model, case.task, method, ablation="zero")
    tracr.precision(found.circuit, truth), tracr.recall(found.circuit, truth)

Compiling needs the extra: pip install 'edgewise[tracr]'.
"""

from edgewise.tracr.checks import exact, needed, truth
from edgewise.tracr.compiling import Compiled, compiled
from edgewise.tracr.programs import PROGRAMS, Program
from edgewise.tracr.recovery import edge_pruning, precision, recall

__all__ = [
    "PROGRAMS",
    "Compiled",
    "Program",
    "compiled",
    "edge_pruning",
    "exact",
    "needed",
    "precision",
    "recall",
    "truth",
]
