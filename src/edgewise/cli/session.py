"""The model and the task that a command names, or that a run folder remembers."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgewise import tasks
from edgewise.circuit import Circuit
from edgewise.cli.output import Output
from edgewise.errors import ConfigError, DataError, ModelError, RunError, TokenizerError
from edgewise.files import sha256_file
from edgewise.loading import load
from edgewise.models.fingerprint import weights_fingerprint
from edgewise.models.model import Model
from edgewise.runs import FINISHED, read_config, state
from edgewise.scores import EdgeScores
from edgewise.solved import FEW, solved
from edgewise.tasks import Task

SIZES = ("train", "validation", "test")


def check_task(name: str, sizes: Mapping[str, int | None]) -> None:
    """What can be said of a task before there is a tokenizer: ConfigError or DataError."""
    for split, size in sizes.items():
        if size is not None and size < 1:
            raise ConfigError(f"--{split} {size}: a split needs at least one prompt")
    if not _is_file(name):
        if name not in tasks.names():
            raise ConfigError(
                f"no task {name!r}; there are {', '.join(tasks.names())}, or the path of a "
                ".jsonl file"
            )
        return
    if not Path(name).is_file():
        raise DataError(f"{name}: there is no such file")
    if given := [f"--{split}" for split in SIZES if sizes.get(split) is not None]:
        raise ConfigError(
            f"{', '.join(given)} can't be chosen for {name}: all its rows are used, each in the "
            'split that its "split" names'
        )


def known_of_task(name: str, sizes: Mapping[str, int | None], seed: int = 0) -> dict[str, Any]:
    """What a run records of a task that `check_task` lets pass, as far as no tokenizer decides."""
    if _is_file(name):
        return {"jsonl": str(Path(name)), "sha256": sha256_file(name)}
    own = inspect.signature(tasks.GENERATORS[name]).parameters
    asked = {split: sizes.get(split) or own[split].default for split in SIZES}
    return {"task": name, **asked, "seed": seed}


def make_task(name: str, model: Model, sizes: Mapping[str, int | None], seed: int = 0) -> Task:
    """A task by name, or from a .jsonl file, for the model's tokenizer."""
    check_task(name, sizes)
    tokenizer = tokenizer_of(model)
    if _is_file(name):
        return Task.from_jsonl(name, tokenizer)
    return tasks.make(name, tokenizer, seed=seed, **sizes)


def tokenizer_of(model: Model) -> Any:
    """TokenizerError if the model came without one."""
    if model.tokenizer is None:
        raise TokenizerError(
            f"{model.name} has no tokenizer, and prompts are text: put its tokenizer.json and "
            "tokenizer_config.json into the model's folder"
        )
    return model.tokenizer


def subject(model: Model, task: Task) -> str:
    """The model, the task and its first pair of prompts, in a few lines."""
    lines = {
        "model": model.summary,
        "task": f"{task.name}: {task.sizes} prompts",
        "": sample(task, "train", model),
    }
    return labelled(lines)


def labelled(lines: Mapping[str, str]) -> str:
    """Texts in a column, each with its label before it."""
    return "\n".join(
        f"{name:<9}{text}".replace("\n", "\n" + " " * 9) for name, text in lines.items()
    )


def sample(task: Task, split: str, model: Model) -> str:
    """The first pair of prompts, with the answer that is expected of the clean one."""
    example = task.examples(split)[0]
    end = example.positions[0] + 1
    return (
        f"{model.text(example.clean[:end])!r} -> {model.text(example.answers)!r}\n"
        f"{model.text(example.corrupted[:end])!r}"
    )


def ask(model: Model, task: Task, split: str, output: Output) -> None:
    """Say how many prompts the model answers itself, and warn if they are few; not if quiet."""
    if output.quiet:
        return
    found = solved(model, task, split)
    output.say(str(found))
    if found.few:
        output.warn(
            f"that is less than {FEW:.0%}: a circuit does what the model does, so it will explain "
            "something else than the task. Another model or form of the task may do better"
        )


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run folder holds once its search is over."""

    path: Path
    config: Mapping[str, Any]
    circuit: Circuit
    scores: EdgeScores

    @classmethod
    def open(cls, path: Path) -> "Finished":
        """RunError if the folder holds no run, or one that is not finished."""
        config = read_config(path)
        if lacking := {"model", "task", "method", "ablation", "seed"} - set(config):
            raise RunError(f"{path}: its config.json lacks {', '.join(sorted(lacking))}")
        if state(path) != FINISHED:
            raise RunError(
                f"{path} has no circuit yet: its run is not finished. Type the `edgewise discover` "
                "command that began it, and it goes on"
            )
        return cls(path, config, Circuit.load(path), EdgeScores.load(path))

    def seed(self, given: int | None) -> int:
        """The run's own unless another is given."""
        return self.config["seed"] if given is None else given

    def model(
        self,
        dtype: str | None = None,
        device: str | None = None,
        shards: int | None = None,
        offload: Literal["disk"] | None = None,
        name: str | None = None,
    ) -> Model:
        """The run's model, from where it was or by another `name`; RunError if it can't be loaded,
        or if its weights are others by now."""
        asked = self.config["model"]
        try:
            model = load(
                name or asked["name"],
                dtype=dtype or asked["dtype"],
                device=device,
                revision=None if name else asked["revision"],
                embeddings=asked["embeddings"],
                shards=shards,
                offload=offload,
            )
        except ModelError as error:
            if name is not None:
                raise
            raise RunError(
                f"{self.path} is of the model {asked['name']!r}, which can't be loaded from here: "
                f"--model says where it is now\n{error}"
            ) from error
        same_dtype = dtype in (None, asked["dtype"])
        if same_dtype and weights_fingerprint(model.hf) != asked["weights"]:
            raise RunError(
                f"{self.path} was found in other weights than those that {name or asked['name']} "
                "has now: run `edgewise discover` again"
            )
        return model

    def task(self, model: Model) -> Task:
        """The run's own task; RunError if it can't be made again as it was."""
        asked = self.config["task"]
        tokenizer = tokenizer_of(model)
        if "jsonl" in asked:
            if not Path(asked["jsonl"]).is_file():
                raise RunError(
                    f"the prompts of {self.path} are in {asked['jsonl']}, which is no file from "
                    "here: go to the folder in which `edgewise discover` was typed"
                )
            task = Task.from_jsonl(asked["jsonl"], tokenizer, asked["task"], asked["bos"])
        elif asked["task"] in tasks.names() and "rows" not in asked:
            sizes = {split: asked[split] for split in SIZES}
            task = tasks.make(
                asked["task"], tokenizer, seed=asked["seed"], bos=asked["bos"], **sizes
            )
        else:
            raise RunError(
                f"the task {asked['task']!r} of {self.path} was made in Python: name another with "
                "--task, a name or a .jsonl file"
            )
        if task.fingerprint() != asked["fingerprint"]:
            raise RunError(
                f"the task {asked['task']!r} of {self.path} has other prompts now: name the one "
                "you mean with --task"
            )
        return task


def _is_file(name: str) -> bool:
    return Path(name).suffix in (".jsonl", ".json") or Path(name).is_file()
