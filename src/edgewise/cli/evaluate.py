"""`edgewise evaluate`: how faithful a circuit is, on its own task or another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from edgewise.cli import flags
from edgewise.cli.flags import OWN, MaybeInt, MaybePath, MaybePlace, MaybeText, Switch
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.report import Report


@dataclass(frozen=True)
class Command:
    """Measure a run's circuit beside the full model, no edges, random edges and EAP."""

    run: Positional[Path]  # a run folder
    split: str = OWN  # train, validation or test
    task: MaybeText = None  # another task, by name or a .jsonl file: does the circuit generalise?
    test: MaybeInt = None  # how many test prompts of that other task
    seed: int = 0  # of that other task, of the random circuits and of the bootstrap
    batch_size: int = 32  # prompts at a time
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
        output.say(f"loading {run.config['model']['name']}")
        model = run.model(self.dtype, self.device, self.shards, self.offload)
        if self.task is None:
            task = run.task(model)
        else:
            task = make_task(self.task, model, {"test": self.test}, self.seed)
        report = measure(
            model,
            task,
            run.circuit,
            output,
            split=self.split,
            ablation=run.config["ablation"],
            seed=self.seed,
            batch_size=self.batch_size,
            with_eap=run.config["method"]["name"] != EAP.name,
        )
        out = self.out
        if out is None and self.task is None and self.split == OWN and self.dtype is None:
            out = self.run
            if (self.run / "report.json").exists():
                old = Report.load(self.run)  # its curves, which are as good as ever
                report = replace(report, curves=old.curves, order=old.order)
            save_patterns(self.run, model, task, run.circuit, run.config["ablation"])
        if out is not None and runtime.is_main():
            report.save(out)
        output.result(str(report), report.to_json())

    def check(self) -> None:
        """What can be refused before anything is loaded."""
        if self.task is None and self.test is not None:
            raise ConfigError(
                f"--test {self.test} is for another task, which --task names: a run's own prompts "
                "are those that it set aside"
            )
        flags.check_least(self, batch_size=1, seed=0)


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "evaluate")
