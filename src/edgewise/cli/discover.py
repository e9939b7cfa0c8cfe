"""`edgewise discover`: a circuit, from a model and a task, and how faithful it is.

The flags are the fields of `Command` and those of the method that --method names.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from edgewise import runs, runtime
from edgewise.cli import flags, session
from edgewise.cli.flags import OWN, Ablation, MaybeFloat, MaybeInt, MaybePlace, MaybeText, Switch
from edgewise.cli.measuring import measure, save_patterns
from edgewise.cli.output import Output
from edgewise.discovery import EAP, METHODS, Found, Method, discover
from edgewise.discovery.found import settings
from edgewise.discovery.search import check, search_dtype
from edgewise.errors import ConfigError, DataError
from edgewise.loading import DTYPES, load
from edgewise.models.model import Model
from edgewise.report import Report
from edgewise.tasks import Task

DEFAULT = "edge-pruning"


@dataclass(frozen=True)
class Command:
    """Find the circuit that a model uses for a task, and measure it on unseen prompts."""

    model: str  # a short name (`edgewise models`), a folder, a .gguf file or a hub id
    task: str  # a name (`edgewise tasks`) or a .jsonl file
    out: Path  # the run folder; the same command again goes on where it was interrupted
    method: str = DEFAULT  # what to search with; `--method NAME --help` shows its flags
    paper: Switch = False  # start from the published hyperparameters of the method
    train: MaybeInt = None  # prompts to learn from; the task's own number unless given
    validation: MaybeInt = None  # prompts set aside
    test: MaybeInt = None  # unseen prompts to be measured on
    seed: int = 0  # of everything random
    ablation: Ablation = "interchange"  # what absent edges carry
    embeddings: Literal["joint", "split", "free"] = "joint"  # split: tokens apart from positions
    dtype: str = "auto"  # float32, bfloat16, float16 or float64; auto is float32 on a CPU
    device: MaybeText = None  # cpu, cuda, ...; a GPU if there is one
    revision: MaybeText = None  # of a hub id
    eval_batch_size: int = 32  # prompts at a time when measuring
    shards: MaybeInt = None  # processes of torchrun that share the weights; each has all else
    offload: MaybePlace = None  # disk: weights stay in their files and come block by block
    memory: MaybeFloat = None  # GB that a step's tensors may take; a batch is cut to fit
    overwrite: Switch = False  # delete another run that the folder holds
    json: Switch = False  # print the result as JSON
    quiet: Switch = False  # print the result alone


@dataclass(frozen=True)
class Discover:
    """A command with the method that its flags spell."""

    command: Command
    method: Any

    def __call__(self) -> None:
        self.check()
        with runtime.connected(self.command.device):
            self.run()

    def run(self) -> None:
        """In each process, if `torchrun` started several."""
        output = Output(self.command.json, self.command.quiet, not runtime.is_main())
        model, task = self.loaded(output)
        with self.naming_flags():
            check(self.method, model.graph, task)
        output.say(self.plan(model, task))
        if not self.finished:
            session.ask(model, task, OWN, output)
        found = self.searched(model, task, output)
        report = self.measured(model, task, found, output, self.method.name != EAP.name)
        output.result(self.closing(report, found), self.data(report, found))

    def loaded(self, output: Output) -> tuple[Model, Task]:
        """What the command names, with prompts in both splits that it needs."""
        command = self.command
        output.say(f"loading {command.model}")
        model = load(
            command.model,
            dtype=command.dtype,
            device=command.device,
            revision=command.revision,
            embeddings=command.embeddings,
            shards=command.shards,
            offload=command.offload,
        )
        task = session.make_task(command.task, model, self.sizes, command.seed)
        task.examples(OWN)
        return model, task

    @property
    def finished(self) -> bool:
        """Whether the folder holds the circuit already."""
        return runtime.text_from_main(self._state()) == runs.FINISHED

    def _state(self) -> str:
        """Of the folder."""
        return "new" if self.command.overwrite else runs.state(self.command.out)

    def searched(self, model: Model, task: Task, output: Output) -> Found:
        """The circuit, searched for or from the folder."""
        command = self.command
        with output.progress() as progress:
            return discover(
                model,
                task,
                self.method,
                out=command.out,
                seed=command.seed,
                ablation=command.ablation,
                overwrite=command.overwrite,
                memory_gb=command.memory,
                progress=progress,
            )

    @property
    def sizes(self) -> dict[str, int | None]:
        return {split: getattr(self.command, split) for split in session.SIZES}

    def check(self) -> None:
        """What can be refused before a model is loaded."""
        command = self.command
        session.check_task(command.task, self.sizes)
        with self.naming_flags():
            self.method.check()
        flags.check_least(command, eval_batch_size=1, seed=0)
        if command.memory is not None and not command.memory > 0:
            raise ConfigError(f"--memory {command.memory}: it must be above 0, in GB")
        if command.dtype not in ("auto", *DTYPES):
            raise ConfigError(f"--dtype {command.dtype}: choose auto, {', '.join(DTYPES)}")
        model = {"name": command.model, "embeddings": command.embeddings}
        if command.dtype != "auto":
            model["dtype"] = command.dtype
        known = {
            "model": model,
            "task": session.known_of_task(command.task, self.sizes, command.seed),
            "method": {"name": self.method.name, **settings(self.method)},
            "ablation": command.ablation,
            "seed": command.seed,
        }
        runs.check(command.out, known, command.overwrite)

    @contextmanager
    def naming_flags(self) -> Iterator[None]:
        """What is wrong with the method's fields, said of its flags."""
        try:
            yield
        except (ConfigError, DataError) as error:
            raise type(error)(flags.as_typed(str(error), type(self.method))) from error

    def plan(self, model: Model, task: Task) -> str:
        """What is about to be done, in a few lines."""
        command, searched = self.command, search_dtype(model, self.method)
        method = f"{self.method.name}: {_chosen(self.method)}, {command.ablation} ablation"
        if searched != model.dtype_name:
            method += f", searched in {searched}"
        lines = {"method": method, "out": f"{command.out} ({self._state()})"}
        return "\n".join([session.subject(model, task), session.labelled(lines)])

    def measured(
        self, model: Model, task: Task, found: Found, output: Output, with_eap: bool
    ) -> Report:
        """The report that the folder holds, or a new one; EAP's circuit may be one of its rows."""
        command = self.command
        if runtime.number_from_main((command.out / "report.json").exists()):
            return Report.load(command.out)
        report = measure(
            model,
            task,
            found.circuit,
            output,
            split=OWN,
            ablation=command.ablation,
            seed=command.seed,
            batch_size=command.eval_batch_size,
            with_eap=with_eap,
        )
        save_patterns(command.out, model, task, found.circuit, command.ablation)
        if runtime.is_main():
            report.save(command.out)
        return report

    def closing(self, report: Report, found: Found) -> str:
        out = self.command.out
        minutes, seconds = divmod(round(found.seconds), 60)
        return (
            f"\n{report}\n\n{out} holds the run (searched for {minutes}:{seconds:02d}). "
            f"To look at the circuit, type\n    edgewise view {out}"
        )

    def data(self, report: Report, found: Found) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "out": str(self.command.out),
            "method": self.method.name,
            "edges": report.edges,
            "edges_alive": report.edges_alive,
            "density": report.density,
            "seconds": found.seconds,
            "report": report.to_json(),
        }


def parse(argv: Sequence[str]) -> Discover:
    """The command that `argv` spells, with its method's own flags."""
    name = _given(argv, "--method") or DEFAULT
    if name not in METHODS:
        raise ConfigError(f"--method {name}: there are {', '.join(METHODS)}")
    kind = METHODS[name]
    default = None
    if "--paper" in argv:
        if not hasattr(kind, "paper"):
            raise ConfigError(f"--paper: no hyperparameters were published for {name}")
        task = _given(argv, "--task")  # without one the parser says so, or gives help
        default = None if task is None else kind.paper(task)
        if _given(argv, "--density") or _given(argv, "--edges"):
            raise ConfigError(
                "--paper: the preset ends at a sparsity, and its circuit has as many edges as its "
                "gates say then; in place of --density or --edges give --target-sparsity, such as "
                "0.98"
            )
    shape = make_dataclass(
        "Discover",
        [
            ("command", Annotated[Command, arg(name="")]),
            ("method", Annotated[flags.plain(kind, default), arg(name=name)]),
        ],
    )
    shape.__doc__ = f"{Command.__doc__} Methods: {', '.join(METHODS)}."
    own = f" --method {name}" if _given(argv, "--method") else ""  # whose --help lists its flags
    given = flags.parse(shape, argv, f"discover{own}")
    return Discover(given.command, kind(**vars(given.method)))


def _given(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag that must be known before the others can be parsed."""
    for word, following in pairwise([*argv, None]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None


def _chosen(method: Method) -> str:
    """The size asked for and whatever isn't at its default."""
    words, values = [], settings(method)
    for field in fields(method):
        value = values[field.name]
        is_size = field.name in ("density", "edges", "steps", "threshold")
        if (is_size and value is not None) or (not is_size and value != field.default):
            words.append(f"{field.name}={value}")
    return ", ".join(words)
