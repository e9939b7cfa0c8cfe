"""The command line: one module a command, imported when it is asked for.

So `edgewise --help` needs neither torch nor the parser, and `edgewise export` no torch. A command's
module has a dataclass `Command`, whose fields are its flags and whose call does it.

Exit codes: 0; 2 for what the user can correct (the message says how); 130 for Ctrl-C.
"""

import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence

from edgewise.errors import ConfigError, EdgewiseError

COMMANDS = {
    "discover": "find the circuit that a model uses for a task",
    "evaluate": "how faithful a run's circuit is, on its own task or another",
    "curve": "how faithful a run's ranking is at every density; MIB's CPR and CMD",
    "compare": "runs side by side: sizes, faithfulness, overlap",
    "view": "a circuit, or the difference of two, as an offline web page",
    "plot": "figures for papers: faithfulness against density, or a circuit",
    "export": "a circuit in the file format of another program",
    "plan": "what a step will take, and what it fits on, from a config alone",
    "models": "what can be loaded; whether a given model can",
    "tasks": "what there is to explain; a task's prompts token by token",
}

SHARED = ("discover", "evaluate", "curve")  # by the processes of `torchrun`

EXAMPLE = """\
edgewise discover --model smollm2-135m --task ioi --method edge-pruning \\
    --density 0.02 --out runs/ioi"""

INTERRUPTED = 130

REFUSED = (  # by the file system
    PermissionError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code; SystemExit after --help and misspelt flags."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"edgewise {version('edgewise')}")
        return 0
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        if argv[0] not in COMMANDS:
            raise ConfigError(f"no command {argv[0]!r}; there are: {', '.join(COMMANDS)}")
        if os.environ.get("WORLD_SIZE", "1") != "1" and argv[0] not in SHARED:
            raise ConfigError(f"`edgewise {argv[0]}` is one process: start it without torchrun")
        module = importlib.import_module(f"edgewise.cli.{argv[0]}")
        module.parse(argv[1:])()
    except EdgewiseError as error:
        print(f"edgewise{_which()}: {error}", file=sys.stderr)
        return 2
    except REFUSED as error:
        print(f"edgewise: {error.filename2 or error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if not _which():
            print(_interrupted(argv), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `edgewise tasks | head`
        sys.stderr.close()
        return 0
    finally:
        warnings.showwarning = shown
    return 0


def _help() -> str:
    commands = "\n".join(f"    {name:<10}  {what}" for name, what in COMMANDS.items())
    return f"""\
usage: edgewise COMMAND [--help | flags]

Find the circuit that a transformer language model uses for a task.

{commands}

For example:

    {EXAMPLE.replace(chr(10), chr(10) + "    ")}
    edgewise view runs/ioi

`edgewise COMMAND --help` lists a command's flags; --json prints its result for programs."""


def _interrupted(argv: Sequence[str]) -> str:
    if argv[0] not in ("discover", "curve") and "--config" not in argv:
        return "\nedgewise: interrupted"
    # With --overwrite it would begin again.
    command = shlex.join(["edgewise", *(word for word in argv if word != "--overwrite")])
    since = "points" if argv[0] == "curve" else "checkpoint"
    return f"\nedgewise: interrupted; to go on from the last {since}, type\n    {command}"


def _which() -> str:
    """Which of several processes of `torchrun` this is, unless it is the first."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f", process {rank} of {os.environ.get('WORLD_SIZE', '?')}"


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
