"""`edgewise tasks`: what there is to explain, and a task's prompts token by token."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from edgewise import tasks
from edgewise.cli import flags, session
from edgewise.cli.flags import MaybeText, Switch
from edgewise.cli.output import Output
from edgewise.errors import ConfigError
from edgewise.loading import load
from edgewise.models.model import Model
from edgewise.tasks import Example
from edgewise.tasks.samples import SAMPLES

MaybeTask = Annotated[Positional[str | None], arg(metavar="[TASK]", help_behavior_hint="")]
FEW = 3  # of several right or wrong answers, shown


@dataclass(frozen=True)
class Command:
    """List the tasks, describe one, or show its prompts as a model's tokens."""

    name: MaybeTask = None  # a name from the list, or a .jsonl file
    model: MaybeText = None  # whose tokenizer makes the prompts
    split: str = "train"  # train, validation or test
    show: int = 5  # prompts to show
    seed: int = 0  # another seed, other prompts
    json: Switch = False  # print the result as JSON

    def __call__(self) -> None:
        output = Output(self.json)
        if self.name is None:
            if self.model is not None:
                raise ConfigError(
                    "--model shows the prompts of one task: name it, such as\n"
                    f"    edgewise tasks {tasks.names()[0]} --model {self.model}"
                )
            found = {name: _summary(name) for name in tasks.names()}
            text = "\n\n".join(f"{name}: {what}\n{_sample(name)}" for name, what in found.items())
            output.result(text, {"tasks": found})
            return
        flags.check_least(self, show=0, seed=0)
        session.check_task(self.name, {})
        if self.model is None:
            if self.name not in tasks.names():
                raise ConfigError(f"--model says whose tokens {self.name} is to be shown in")
            text = f"{_description(self.name)}\n\n{_sample(self.name)}"
            hint = f"`edgewise tasks {self.name} --model smollm2-135m` shows prompts"
            output.result(f"{text}\n\n{hint}", {"task": self.name, "description": text})
            return
        model = load(self.model, check=False)
        task = session.make_task(self.name, model, {}, self.seed)
        examples = task.examples(self.split)
        chosen = [examples[i] for i in range(min(self.show, len(examples)))]
        output.result(
            "\n\n".join([f"{task.name}: {task.sizes}", *(_aligned(model, one) for one in chosen)]),
            {
                "task": task.name,
                "sizes": {split: len(examples) for split, examples in task.splits.items()},
                "examples": [_tokens(model, one) for one in chosen],
            },
        )


def parse(argv: Sequence[str]) -> Command:
    """The command that `argv` spells."""
    return flags.parse(Command, argv, "tasks")


def _description(name: str) -> str:
    """What a generator says of its prompts, without what it raises, which is for programs."""
    return (inspect.getdoc(tasks.GENERATORS[name]) or "").partition("Raises ")[0].strip()


def _summary(name: str) -> str:
    return _description(name).partition("\n")[0]


def _sample(name: str) -> str:
    clean, corrupted, answer = SAMPLES[name]
    return f"    {clean} | {answer}\n    {corrupted}"


def _tokens(model: Model, example: Example) -> dict[str, Any]:
    def text(token: int) -> str:
        return model.text((token,))

    return {
        "clean": [text(token) for token in example.clean],
        "corrupted": [text(token) for token in example.corrupted],
        "predicts": {
            position: text(answer)
            for position, answer in zip(example.positions, example.answers, strict=True)
        },
        "distractor": None if example.distractor is None else text(example.distractor),
        "good": list(map(text, example.good)),
        "bad": list(map(text, example.bad)),
    }


def _few(word: str, answers: Sequence[str | None], known: str | None = None) -> str:
    """The first of some answers but the `known` one, after a word; nothing if there are none."""
    others = [repr(one) for one in dict.fromkeys(answers) if one != known]
    more = [f"{len(others) - FEW} more"] if len(others) > FEW else []
    return f"{word} {', '.join([*others[:FEW], *more])}" if others else ""


def _aligned(model: Model, example: Example) -> str:
    """Both prompts, a token a line; a mark where they differ, the answer where it is predicted."""
    found = _tokens(model, example)
    pairs = [
        (repr(a)[1:-1], repr(b)[1:-1])
        for a, b in zip(found["clean"], found["corrupted"], strict=True)
    ]
    width = max(len(a) for a, _ in (("clean", ""), *pairs))
    wide = max(len(b) for _, b in (("", "corrupted"), *pairs))
    lines = [f"  {'clean':<{width}}   corrupted"]
    for position, (a, b) in enumerate(pairs):
        answer = found["predicts"].get(position)
        note = "" if answer is None else f"  -> {answer!r}"
        if note and position == example.positions[0]:
            wrong = [found["distractor"], *found["bad"]]
            note += _few(" or", found["good"], answer) + _few(", not", wrong)
        lines.append(
            f"{' ' if a == b else '*'} {a:<{width}}   {b:<{wide if note else 0}}{note}".rstrip()
        )
    return "\n".join(lines)
