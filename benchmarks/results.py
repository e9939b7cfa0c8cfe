"""Regenerate the tables of docs/results.md: `make results`, or a part of it.

    python benchmarks/results.py [--densities 0.005 0.01 0.02 0.05 0.1] [--seeds 0 1 2]
        [--paper-steps 0]

For each seed and density one Edge Pruning run, for each density one EAP circuit, all on
SmolLM2-135M and IOI, measured on the same unseen prompts of unseen frames. Runs live under
runs/results and are gone on with or reused; the table is written from whatever is finished, so the
script may be stopped at any time. `--paper-steps N` adds the paper's preset, at N steps with its
warm-ups in proportion (3000 is the paper's).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import edgewise
from edgewise.discovery import EAP, EdgePruning, Method
from edgewise.models.model import Model
from edgewise.report import Report
from edgewise.tasks import Task

RUNS = Path("runs/results")
PAGE = Path("docs/results.md")
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")
TRAIN, TEST = 500, 200


def planned(given: argparse.Namespace) -> Iterator[tuple[str, int, Method]]:
    for seed in given.seeds:
        for density in given.densities:
            yield f"edge-pruning-{density}-{seed}", seed, EdgePruning(density=density)
    for density in given.densities:
        yield f"eap-{density}", 0, EAP(density=density, prompts=200)
    if given.paper_steps:
        share = given.paper_steps / 3000
        changes = {
            "steps": given.paper_steps,
            "warmup": round(200 * share),
            "sparsity_warmup": round(2500 * share),
        }
        yield f"paper-{given.paper_steps}", 0, EdgePruning.paper("ioi", **changes)


def measured(model: Model, task: Task, name: str, seed: int, method: Method) -> None:
    folder = RUNS / name
    if (folder / "report.json").exists():
        return
    print(f"{name} ...", flush=True)
    found = edgewise.discover(model, task, method, out=folder, seed=seed)
    report = edgewise.evaluate(model, task, found.circuit, batch_size=25)
    report.save(folder)
    print(f"{name}: KL {report.kl:.3f}, exact match {report.exact_match:.3f}", flush=True)


def rows() -> list[str]:
    lines = [
        "| method | seed | edges | alive | density | KL (nats) | exact match | accuracy | "
        "logit difference | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = []
    for folder in sorted(RUNS.glob("*/report.json")):
        report = Report.load(folder.parent)
        config = json.loads((folder.parent / "config.json").read_text())
        circuit = edgewise.Circuit.load(folder.parent)
        row = report.rows["circuit"]
        metrics = {name: row.metrics[name] for name in ("kl", "exact_match", "accuracy")}
        cells = [f"{m.mean:.3f} ({m.low:.2f}, {m.high:.2f})" for m in metrics.values()]
        name = folder.parent.name
        method = "paper preset" if name.startswith("paper") else config["method"]["name"]
        line = (
            f"| {method} | {config['seed']} | {row.edges:,} | {row.edges_alive:,} | "
            f"{row.density:.2%} | {' | '.join(cells)} | "
            f"{row.metrics['logit_difference'].mean:.2f} | "
            f"{circuit.provenance['seconds']:.0f} |"
        )
        found.append(((row.density, method, config["seed"]), line))
    return lines + [line for _, line in sorted(found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--densities", type=float, nargs="*", default=[0.02, 0.01, 0.005, 0.05, 0.1]
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--paper-steps", type=int, default=0)
    given = parser.parse_args()
    model = edgewise.load("smollm2-135m")
    task = edgewise.tasks.ioi(model.tokenizer, train=TRAIN, validation=100, test=TEST, seed=0)
    for name, seed, method in planned(given):
        measured(model, task, name, seed, method)
        text = PAGE.read_text()
        before, rest = text.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        PAGE.write_text("\n".join([before + MARKS[0], "", *rows(), "", MARKS[1] + after]))


if __name__ == "__main__":
    main()
