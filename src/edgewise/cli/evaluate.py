"""`edgewise evaluate`: how faithful a circuit is, on its own task or another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from edgewise.circuit import Circuit
from edgewise.cli import flags
from edgewise.cli.flags import (
    OWN,
    MaybeAblation,
    MaybeFloat,
    MaybeInt,
    MaybePath,
    MaybePlace,
    MaybeText,
    Switch,
)
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.files import require_writable
from edgewise.report import Report


@dataclass(frozen=True)
class Command:
    """Measure a run's circuit beside the full model, no edges, random edges and EAP."""

    run: Positional[Path]  # a run folder
    split: str = OWN  # train, validation or test
    task: MaybeText = None  # another task, by name or a .jsonl file: does the circuit generalise?
    test: MaybeInt = None  # how many test prompts of that other task
    density: MaybeFloat = None  # another cut of the run's ranking: this share of all edges
    edges: MaybeInt = None  # or so many
    ablation: MaybeAblation = None  # interchange, mean or zero; the run's own unless given
    seed: MaybeInt = None  # of all that is drawn; the run's own unless given
    batch_size: int = 32  # prompts at a time
    model: MaybeText = None  # where the run's model is now, if it has moved
    dtype: MaybeText = None  # float32, bfloat16, ...; the run's own unless given
    device: MaybeText = None  # cpu, cuda, ...
    shards: MaybeInt = None  # processes of torchrun that share the weights; each has all else
    offload: MaybePlace = None  # disk: weights stay in their files and come block by block
    out: MaybePath = None  # report file; by default report.json, if all is as the run has it
    json: Switch = False  # print the report as JSON
    quiet: Switch = False  # print the report alone

    def __call__(self) -> None:
        self.check()
        from edgewise import runtime  # loads torch

        with runtime.connected(self.device):
            self.measure()

    def measure(self) -> None:
        """In each process, if `torchrun` started several."""
        from edgewise import runtime
        from edgewise.cli.measuring import measure, save_patterns
        from edgewise.cli.session import Finished, make_task
        from edgewise.discovery import EAP

        output = Output(self.json, self.quiet, not runtime.is_main())
        run = Finished.open(self.run)
        seed = run.seed(self.seed)
        circuit = self.cut(run)
        output.say(f"loading {self.model or run.config['model']['name']}")
        model = run.model(self.dtype, self.device, self.shards, self.offload, self.model)
        if self.task is None:
            task = run.task(model)
        else:
            task = make_task(self.task, model, {"test": self.test}, seed)
        task.examples(self.split)
        report = measure(
            model,
            task,
            circuit,
            output,
            split=self.split,
            ablation=self.ablation or run.config["ablation"],
            seed=seed,
            batch_size=self.batch_size,
            with_eap=run.config["method"]["name"] != EAP.name,
        )
        out = self.out
        as_found = (
            (self.task, self.dtype, self.density, self.edges) == (None,) * 4
            and self.ablation in (None, run.config["ablation"])
            and seed == run.seed(None)
        )
        if out is None and self.split == OWN and as_found:
            out = self.run
            if (self.run / "report.json").exists():
                old = Report.load(self.run)  # its curves, which are as good as ever
                report = replace(report, curves=old.curves, order=old.order)
            save_patterns(self.run, model, task, run.circuit, run.config["ablation"])
        if out is not None and runtime.is_main():
            report.save(out)
        output.result(str(report), report.to_json())

    def cut(self, run: Any) -> Circuit:
        """The run's circuit, or as many of its best edges as are asked for."""
        if self.density is None and self.edges is None:
            return run.circuit
        from edgewise.discovery.found import n_kept  # loads torch

        try:
            return run.scores.top(n_kept(run.scores.graph, self.density, self.edges))
        except ConfigError as error:
            raise ConfigError(flags.as_typed(str(error), Command)) from error

    def check(self) -> None:
        """What can be refused before anything is loaded."""
        if self.task is None and self.test is not None:
            raise ConfigError(
                f"--test {self.test} is for another task, which --task names: a run's own prompts "
                "are those that it set aside"
            )
        flags.check_least(self, batch_size=1, seed=0)
        if self.density is not None and self.edges is not None:
            raise ConfigError(f"--density {self.density}, --edges {self.edges}: ask for one of two")
        if self.out is not None:
            require_writable(self.out)
        if self.task is not None:
            from edgewise.cli.session import check_task  # loads torch

            check_task(self.task, {"test": self.test})


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "evaluate")
