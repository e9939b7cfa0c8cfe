"""A run folder: everything that a discovery leaves, at any moment fit to be read and gone on from.

    config.json          what repeats it: model, task, method, ablation, seed, versions
    metrics.jsonl        a record a line, flushed as it comes
    checkpoint/40.safetensors    the search after 40 steps; the newest two
    scores.safetensors   circuit.json                      once it has finished
    report.json          attention.json                    once the circuit has been measured

Files are replaced whole (`atomic_write`); metrics.jsonl alone grows, so its last line may be torn:
it is ignored, and cut off when the folder is opened again. Nothing in here is a pickle.

One process writes: of several (`runtime`) the main one, and of two commands at once the first.
"""

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgewise import files, runtime
from edgewise.circuit import Circuit
from edgewise.errors import NonFiniteError, RunError
from edgewise.files import atomic_write, require_space, require_writable
from edgewise.scores import EdgeScores

FORMAT = "edgewise-run/1"
FINISHED = "finished"
SPACE = 10_000_000  # bytes: scores, circuit, report and metrics of a run of any size met so far
CHECKPOINTS = 2  # kept; the older one is for a disk that loses the newer

_CONFIG, _METRICS, _CHECKPOINTS, _LOCK = "config.json", "metrics.jsonl", "checkpoint", ".lock"
# What changes the seconds, or what an interruption costs, and nothing else.
_COSTS = ("method.cache_gb", "method.checkpoint_every")
_ANEW = "`edgewise discover --overwrite` deletes the run and starts again"  # no other command does
_RESULTS = ("scores.safetensors", "circuit.json", "report.json", "attention.json")


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A folder that belongs to one run; `open` makes it or finds it again."""

    path: Path
    config: Mapping[str, Any]
    lock: files.Lock | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        overwrite: bool = False,
        space: int = SPACE,
    ) -> "RunFolder":
        """The folder `path` for the run that `config` describes: new, or to be gone on with.

        overwrite    delete a run that is there; other files in the folder stay
        space        bytes that the run will write, asked of the disk now (DiskError)

        Raises RunError if the folder holds another run (naming what differs), something that is no
        run, or one that another process is writing. The method's cache_gb and checkpoint_every
        may differ, and with a warning "versions".
        """
        path = Path(path)
        # As it will be read: tuples become lists.
        config = json.loads(json.dumps({"format": FORMAT, **config}, allow_nan=False))
        folder = None
        with runtime.main_only() as mine:
            if mine:
                folder = cls._open(path, config, overwrite, space)
        return folder or cls(path, config)

    @classmethod
    def _open(
        cls, path: Path, config: Mapping[str, Any], overwrite: bool, space: int
    ) -> "RunFolder":
        check(path, {}, overwrite, space)
        path.mkdir(parents=True, exist_ok=True)
        held = files.Lock(path / _LOCK)
        if overwrite:
            _clear(path)
        check(path, {})  # again: what came between that and the lock
        if (path / _CONFIG).exists():
            _refuse_another(path, read_config(path), config)
        else:
            atomic_write(path / _CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        _sweep(path)
        folder = cls(path, config, held)
        for step in _steps(path)[CHECKPOINTS:]:  # killed before it deleted them
            folder._checkpoint(step).unlink()
        folder._rewrite(lambda step: True)
        return folder

    def close(self) -> None:
        """Lets another process write here; so does this one's end, however it comes."""
        if self.lock is not None:
            self.lock.close()

    # --- metrics ---------------------------------------------------------------------------------

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a line to metrics.jsonl: a record, with its "step".

        Raises NonFiniteError for a number that JSON doesn't have, DiskError when no space is left;
        the records before it stay as they are.
        """
        if not runtime.is_main():
            return
        odd = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
        if odd:
            raise NonFiniteError(
                f"step {record.get('step')}: {', '.join(odd)} became NaN or infinite"
            )
        files.append(self.path / _METRICS, json.dumps(dict(record), allow_nan=False) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Every whole record, in order; RunError names a line that is none."""
        return [record for record, _ in _lines(self.path / _METRICS)]

    def truncate(self, step: int) -> None:
        """Drops the records at or after `step`: those that going on from there writes again."""
        with runtime.main_only() as mine:
            if mine:
                self._rewrite(lambda other: other < step)

    def _rewrite(self, keep: Callable[[int], bool]) -> None:
        """Keeps the whole records whose step passes; leaves the file alone if that is all."""
        file = self.path / _METRICS
        if not file.exists():
            return
        kept = "".join(line for record, line in _lines(file) if keep(record["step"])).encode()
        if len(kept) != file.stat().st_size:
            atomic_write(file, kept)

    # --- checkpoints -----------------------------------------------------------------------------

    def save_checkpoint(
        self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        """Keeps `tensors` and the JSON values `state` as they are after `step` steps.

        Raises DiskError when no space is left; the checkpoints before it stay.
        """
        if not runtime.is_main():
            return
        if (metrics := self.path / _METRICS).exists():
            with metrics.open("rb") as file:  # the records that lead to a checkpoint outlive it
                os.fsync(file.fileno())
        whole = {  # copies: safetensors refuses views, and tensors that share memory
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        content = safetensors.torch.save(
            whole, {"format": FORMAT, "state": json.dumps(dict(state))}
        )
        atomic_write(self._checkpoint(step), content)
        steps = _steps(self.path)
        kept = [other for other in steps if other <= step][:CHECKPOINTS]
        for other in set(steps) - set(kept):  # a later one was unreadable when this run began
            self._checkpoint(other).unlink()

    def load_checkpoint(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """(step, tensors on the CPU, state) of the newest that can be read, or None.

        Of several processes the main one says which that is.
        """
        found = None
        for step in _steps(self.path) if runtime.is_main() else ():
            try:
                found = self._read(step)
                break
            except (SafetensorError, KeyError, ValueError) as error:
                file = self._checkpoint(step)
                warnings.warn(f"{file} is skipped, it can't be read: {error}", stacklevel=2)
        step = runtime.number_from_main(-1 if found is None else found[0])
        return found if found or step < 0 else self._read(step)

    def _read(self, step: int) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
        with safe_open(self._checkpoint(step), framework="pt") as stored:
            state = json.loads((stored.metadata() or {})["state"])
            # copies, because the file itself is mapped and is deleted in time
            return step, {name: stored.get_tensor(name).clone() for name in stored.keys()}, state  # noqa: SIM118

    def _checkpoint(self, step: int) -> Path:
        return self.path / _CHECKPOINTS / f"{step}.safetensors"

    # --- results ---------------------------------------------------------------------------------

    def finish(self, scores: EdgeScores, circuit: Circuit) -> None:
        """Writes the results; with both in place the run counts as finished."""
        if runtime.is_main():
            scores.save(self.path)
            circuit.save(self.path)

    @property
    def finished(self) -> bool:
        """Whether scores and circuit are there, by the main process's eyes."""
        return runtime.text_from_main(state(self.path)) == FINISHED


def state(path: Path) -> str:
    """What a folder holds: "new", "begun", "goes on from step 40" or "finished"."""
    if not (path / _CONFIG).exists():
        return "new"
    if all((path / name).is_file() for name in _RESULTS[:2]):
        return FINISHED
    steps = _steps(path)
    return f"goes on from step {steps[0]}" if steps else "begun"


def _steps(path: Path) -> list[int]:
    """Those of a folder's checkpoints, newest first."""
    names = [file.stem for file in (path / _CHECKPOINTS).glob("*.safetensors")]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The config.json of a run folder; RunError if there is none or it is no run's."""
    file = Path(path) / _CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{path} is no run folder: it has no {_CONFIG}") from error
    except ValueError as error:
        raise RunError(f"{file} is corrupt ({error}): {_ANEW}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise RunError(
            f"{path} is no run folder: the format of {file} is {found!r}, not {FORMAT!r}"
        )
    return config


def differences(old: Any, new: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """{dotted key: (old, new)} wherever two JSON values differ; None where a key is not there."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: dict[str, tuple[Any, Any]] = {}
        for key in dict.fromkeys((*old, *new)):
            found |= differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        return found
    return {} if old == new else {name: (old, new)}


def check(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    overwrite: bool = False,
    space: int = SPACE,
) -> None:
    """Raises what `RunFolder.open` would, without touching the folder.

    `config` may be a part, and hold parts: only its keys are compared, so a mistake is found before
    a model is loaded to know the rest.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file: a run needs a folder, new or its own")
    file = path / _CONFIG
    ours = [name for name in (_METRICS, _CHECKPOINTS, *_RESULTS) if (path / name).exists()]
    if file.exists() and not (overwrite and _is_corrupt(file)):
        old = read_config(path)
        if not overwrite:
            new = json.loads(json.dumps(dict(config)))
            _refuse_another(path, _part(old, new), new)
    elif ours and not overwrite:
        raise RunError(
            f"{path} has no {_CONFIG} but {', '.join(ours)}, which a run would replace: choose "
            f"another folder (--out), or delete them; {_ANEW}"
        )
    require_writable(path)
    require_space(path, space)


def _part(whole: Any, keys: Any) -> Any:
    """What a JSON value has at the keys of another, at any depth."""
    if not isinstance(whole, Mapping) or not isinstance(keys, Mapping):
        return whole
    return {key: _part(value, keys[key]) for key, value in whole.items() if key in keys}


def _refuse_another(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # What an older edgewise didn't record can't differ.
    both = old.keys() & new.keys()
    found = differences(*({key: one[key] for key in one if key in both} for one in (old, new)))
    versions = [key for key in found if key.startswith("versions")]
    others = [key for key in found if key not in versions and key not in _COSTS]
    if others:
        width = max(map(len, others))
        table = "".join(
            f"\n    {key:<{width}}   {found[key][0]!r} there, {found[key][1]!r} now"
            for key in others
        )
        raise RunError(
            f"{path} holds another run:{table}\nChoose another folder (--out), or ask for the same "
            f"to go on with that run; {_ANEW}"
        )
    if versions:
        listed = ", ".join(f"{key[9:]} {found[key][0]} -> {found[key][1]}" for key in versions)
        warnings.warn(
            f"{path} was begun with other versions ({listed}): going on may not give the same bits",
            stacklevel=5,  # whoever called discover
        )


def _is_corrupt(file: Path) -> bool:
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return True
    return False


def _clear(path: Path) -> None:
    """Deletes what a run leaves, config.json last: what is half cleared is still a run's folder."""
    shutil.rmtree(path / _CHECKPOINTS, ignore_errors=True)
    for report in path.glob("report-*.json"):  # of other splits
        report.unlink()
    for name in (*_RESULTS, _METRICS, _CONFIG):
        (path / name).unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Deletes what a process that was killed in `atomic_write` left."""
    places = [path / name for name in (_CONFIG, _METRICS, *_RESULTS)]
    for place in (*places, path / _CHECKPOINTS / "*"):
        for left in place.parent.glob(f".{place.name}.*.tmp"):
            left.unlink()


def _lines(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Every whole record with its line; RunError for one that is neither whole nor the last."""
    if not file.exists():
        return
    lines = file.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(record["step"], int)
        except (ValueError, KeyError, TypeError):
            whole = False
        if whole:
            yield record, line.decode()
        elif number < len(lines):
            raise RunError(
                f"{file}, line {number} is corrupt: {line[:60]!r}. Delete the line; or {_ANEW}"
            )
