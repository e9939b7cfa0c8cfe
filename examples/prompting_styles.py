"""One behaviour asked for in two forms: does the model use one circuit or two?

    python examples/prompting_styles.py [--model smollm2-135m] [--task capitals] [--density 0.02]
        [--steps 200] [--train 300] [--test 100] [--out runs/prompting-styles] [--page FILE.md]

Edge Pruning finds a circuit for each form. Each circuit, what they share, both together and what
only one has are evaluated on both forms, and their overlap is compared with chance. This is the
last section of the Edge Pruning paper on a model of your choice; its own experiment is

    --model codellama/CodeLlama-13b-Instruct-hf --task boolean

Runs and reports lie under --out, and the same command goes on where it was. The tables are printed
and written to table.md, the numbers to results.json; --page puts the tables into a Markdown page,
between the marks <!-- MODEL TASK: begin --> and <!-- MODEL TASK: end -->.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import edgewise
from edgewise.circuit import Overlap
from edgewise.files import atomic_write
from edgewise.report import Report
from edgewise.table import filled, markdown, percent

FORMS = {
    "capitals": ("capitals-few-shot", "capitals"),
    "capitals-instruct": ("capitals-few-shot", "capitals-instruct"),
    "boolean": ("boolean", "boolean-instruct"),
}
METRICS = {"accuracy": "accuracy", "exact_match": "exact match", "kl": "KL"}


def study(given: argparse.Namespace) -> tuple[dict[str, Report], Overlap]:
    """A report for each form, with a row for each circuit, and the two circuits' overlap."""
    model = edgewise.load(given.model)
    method = edgewise.EdgePruning(density=given.density, steps=given.steps)
    tasks, found = {}, {}
    for form in FORMS[given.task]:
        sizes = {"train": given.train, "validation": 0, "test": given.test}
        tasks[form] = edgewise.tasks.make(form, model.tokenizer, **sizes)
        print(f"{form}: {edgewise.solved(model, tasks[form])}", flush=True)
    for form, task in tasks.items():
        print(f"{form}: searching", flush=True)
        found[form] = edgewise.discover(model, task, method, out=given.out / form).circuit
    (a, first), (b, second) = found.items()
    circuits = found | {"both": first & second, "either": first | second}
    circuits |= {f"only {a}": first - second, f"only {b}": second - first}
    reports = {}
    for form, task in tasks.items():
        file = given.out / f"{form}.json"
        if not file.exists():
            print(f"{form}: evaluating", flush=True)
            rest = {name: circuit for name, circuit in circuits.items() if name != form}
            edgewise.evaluate(model, task, found[form], baselines=rest).save(file)
        reports[form] = Report.load(file)
    return reports, first.overlap(second)


def tables(reports: dict[str, Report], overlap: Overlap) -> str:
    """Circuits in lines, forms and metrics in columns; and the overlap in a sentence."""
    forms = list(reports)
    alone = [f"only {form}" for form in forms]
    lines = [["circuit", "edges", "alive"]]
    lines[0] += [f"{label}, {form}" for label in METRICS.values() for form in forms]
    for name in ("full", *forms, "both", "either", *alone, "random", "empty"):
        rows = [reports[form].rows["circuit" if name == form else name] for form in forms]
        cells = [name, f"{rows[0].edges:,}", f"{rows[0].edges_alive:,}"]
        lines.append(cells + [f"{row.metrics[m].mean:z.3f}" for m in METRICS for row in rows])
    share = overlap.intersection / min(reports[form].edges for form in forms)
    p = f"p = {overlap.p_value:.2g}" if overlap.p_value else "p < 1e-300"
    said = (
        f"The two circuits share {overlap.intersection:,} edges, {percent(share)} of the smaller "
        f"(IoU {overlap.iou:.3f}); two random circuits of their sizes share {overlap.expected:.3g} "
        f"on average ({p})."
    )
    return f"{markdown(lines)}\n\n{said}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", choices=FORMS, default="capitals")
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=edgewise.EdgePruning.steps)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/prompting-styles"))
    parser.add_argument("--page", type=Path)
    given = parser.parse_args(argv)
    place = f"{given.model} {given.task}"
    if given.page is not None:
        filled(given.page.read_text(encoding="utf-8"), place, "")  # has the marks, or no work
    reports, overlap = study(given)
    text = tables(reports, overlap)
    print(f"\n{text}")
    found = {form: report.to_json() for form, report in reports.items()}
    found["overlap"] = vars(overlap) | {"iou": overlap.iou}
    atomic_write(given.out / "results.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    atomic_write(given.out / "table.md", text + "\n")
    if given.page is not None:
        page = given.page.read_text(encoding="utf-8")
        atomic_write(given.page, filled(page, place, text))


if __name__ == "__main__":
    main()
