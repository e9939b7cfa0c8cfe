"""Let every method look for circuits that are known: the Tracr table of docs/results.md.

    python benchmarks/known_circuits.py [--programs reverse xproportion ...] [--seeds 10]

Each method is asked for as many edges as the truth has (ACDC, which has no size to ask for, takes
its default threshold) and learns from all sequences. A cell is

    precision / recall, over how many seeds the circuit was the truth

with means over seeds. (The file isn't called tracr.py: Python would take it for Tracr.)
"""

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

import edgewise
from edgewise import tracr
from edgewise.circuit import Circuit
from edgewise.discovery import ACDC, EAP, EAPIG, ExactPatching, Magnitude, Method, Random
from edgewise.table import filled, markdown

PAGE = Path("docs/results.md")


def methods(edges: int) -> Mapping[str, Method]:
    """Every method, for a circuit of `edges` edges learned from all sequences."""
    size = {"density": None, "edges": edges}
    return {
        "Edge Pruning": tracr.edge_pruning(edges),
        "EAP": EAP(**size),
        "EAP-IG, inputs": EAPIG(**size),
        "EAP-IG, activations": EAPIG(**size, variant="activations"),
        "ACDC": ACDC(prompts=None),
        "exact patching": ExactPatching(**size, prompts=None),
        "magnitude": Magnitude(**size),
        "random": Random(**size),
    }


def search(case: tracr.Compiled, method: Method, seed: int) -> Circuit:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "none of the circuit's", UserWarning)
        return edgewise.discover(case.model, case.task, method, ablation="zero", seed=seed).circuit


def column(name: str, seeds: int) -> list[str]:
    """A program's cells: its name, its edges, those of its circuit, what each method finds."""
    case = tracr.compiled(name)
    truth = tracr.truth(case)
    cells = [name, str(case.model.graph.n_edges), str(len(truth))]
    for label, method in methods(len(truth)).items():
        found = [search(case, method, seed) for seed in range(seeds)]
        precision = sum(tracr.precision(one, truth) for one in found) / seeds
        recall = sum(tracr.recall(one, truth) for one in found) / seeds
        cells.append(f"{precision:.2f} / {recall:.2f}, {found.count(truth)} of {seeds}")
        print(f"{name}, {label}: {cells[-1]}", flush=True)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", nargs="+", default=list(tracr.PROGRAMS))
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    columns = [["", "edges", "in the circuit", *methods(1)]]
    columns += [column(name, given.seeds) for name in given.programs]
    table = markdown(list(zip(*columns, strict=True)))
    print(table)
    PAGE.write_text(filled(PAGE.read_text(), "tracr", table))


if __name__ == "__main__":
    main()
