"""What commands measure of a circuit, and leave in its run's folder."""

from pathlib import Path

from edgewise import attention, runtime
from edgewise.circuit import Circuit
from edgewise.cli.flags import OWN
from edgewise.cli.output import Output
from edgewise.discovery import EAP, discover
from edgewise.evaluation import evaluate
from edgewise.models.model import Model
from edgewise.patterns import of_samples
from edgewise.report import Report
from edgewise.tasks import Task

EAP_PROMPTS = 100  # training prompts that the baseline's scores are averaged over


def measure(
    model: Model,
    task: Task,
    circuit: Circuit,
    output: Output,
    *,
    split: str,
    ablation: str,
    seed: int,
    batch_size: int,
    with_eap: bool,
) -> Report:
    """The report of a circuit, with EAP of as many edges on the same task among its rows."""
    baselines = {}
    if with_eap and len(circuit) and task.splits.get("train"):
        method = EAP(density=None, edges=len(circuit), prompts=EAP_PROMPTS)
        with output.progress("EAP of as many edges") as progress:
            found = discover(model, task, method, seed=seed, ablation=ablation, progress=progress)
        baselines["eap"] = found.circuit
    with output.progress("evaluating") as progress:
        return evaluate(
            model,
            task,
            circuit,
            split,
            ablation=ablation,
            baselines=baselines,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )


def save_patterns(run: Path, model: Model, task: Task, circuit: Circuit, ablation: str) -> None:
    """Writes attention.json into a run's folder: where heads look in its first test prompts."""
    found = of_samples(model, task, circuit, OWN, ablation=ablation)
    if runtime.is_main():
        attention.save(found, run)
