"""Several methods on one model and task, each in its run folder."""

from collections.abc import Sequence
from pathlib import Path

from edgewise.cli import config, session
from edgewise.cli.flags import OWN
from edgewise.cli.output import Output
from edgewise.discovery.search import check


def search(file: Path, out: Path, output: Output) -> Sequence[Path]:
    """Run what a config file asks for; the folders, of runs that were finished already too.

    Everything that can be refused is refused before the first search.
    """
    runs = config.read(file, out)
    first = next(iter(runs.values()))
    model, task = first.loaded(output)
    for run in runs.values():
        check(run.method, model.graph, task)
    output.say(session.subject(model, task))
    if not all(run.finished for run in runs.values()):
        session.ask(model, task, OWN, output)
    for number, (name, run) in enumerate(runs.items(), start=1):
        output.say(f"{number}/{len(runs)} {name}{' (finished)' if run.finished else ''}")
        found = run.searched(model, task, output)
        run.measured(model, task, found, output, with_eap=False)
    return [run.command.out for run in runs.values()]
