"""GGUF files as `transformers` folders.

`transformers` reads a GGUF file by de-quantising it, which takes longer than all else that a short
run does. So it is done once: the float32 weights and the tokenizer are saved as a folder in the
cache, named after the file's SHA-256 and the version of `transformers` that read it. The folder
appears by a rename, whole or not at all.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgewise.errors import ModelError
from edgewise.files import readable, require_space, sha256_file

MAGIC = b"GGUF"
PARTIAL = ".partial-"
STALE = 24 * 3600  # seconds after which a partial folder belongs to a conversion that was killed


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where converted models are kept: `cache_dir`, or edgewise's place in the user's cache."""
    if cache_dir is None:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache_dir = Path(base) / "edgewise"
    return Path(cache_dir) / "converted"


def converted(
    parts: tuple[Path, ...], name: str, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """The folder that holds the GGUF file made of `parts`, converting it if that was not done yet.

    Raises ModelError for what is not GGUF or not known to `transformers`, DiskError without space.
    """
    with parts[0].open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ModelError(f"{name}: {parts[0]} is not a GGUF file (it doesn't start with GGUF)")
    cache = cache_folder(cache_dir)
    target = cache / f"{sha256_file(*parts)[:16]}-transformers-{transformers.__version__}"
    if target.is_dir():
        return target
    missing = [
        package for package in ("gguf", "accelerate") if not importlib.util.find_spec(package)
    ]
    if missing:
        raise ModelError(
            f"{name}: transformers needs {' and '.join(missing)} to read GGUF files; type\n"
            "    pip install 'edgewise[gguf]'"
        )
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=cache, ignore_cleanup_errors=True) as work:
        made = Path(work) / "model"
        _convert(_assemble(parts, Path(work)), made, name)
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # else another process was first, and its folder is as good
    return target


def _convert(gguf: Path, folder: Path, name: str) -> None:
    """Read `gguf` and save it as `folder`, saying what takes time."""
    start = time.monotonic()
    _say(f"{name}: converting {gguf.name} ({readable(gguf.stat().st_size)}), once; a minute or so")
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    dense: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):  # else it is de-quantised anyhow
        dense["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        _say(f"{name}: de-quantising")
        with _quiet_unless_terminal():
            model, info = AutoModelForCausalLM.from_pretrained(
                **source, **dense, dtype=torch.float32, output_loading_info=True
            )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(
            f"{name}: transformers {transformers.__version__} can't read this GGUF file: {error}"
        ) from error
    if info["missing_keys"]:
        raise ModelError(f"{name}: the GGUF file lacks {', '.join(sorted(info['missing_keys']))}")
    # The weights are plain floats now; what still says otherwise would refuse to be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    require_space(folder.parent, size)
    _say(f"{name}: writing {readable(size)} to {folder.parent.parent}")
    with _quiet_unless_terminal():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _say(f"{name}: converted in {time.monotonic() - start:.0f} s")


def _assemble(parts: tuple[Path, ...], work: Path) -> Path:
    """One file of many parts; one part is that file already."""
    if len(parts) == 1:
        return parts[0]
    require_space(work, sum(part.stat().st_size for part in parts))
    whole = work / f"{parts[0].stem.removesuffix('.gguf')}.gguf"
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)
    return whole


def _sweep(cache: Path) -> None:
    """Remove what killed conversions left behind."""
    for folder in cache.glob(f"{PARTIAL}*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > STALE:
                shutil.rmtree(folder, ignore_errors=True)


def _say(line: str) -> None:
    print(f"edgewise: {line}", file=sys.stderr, flush=True)


@contextmanager
def _quiet_unless_terminal() -> Iterator[None]:
    """A progress bar rewrites its line, which a log file shows as many; `_say` is heard in both."""
    if sys.stderr.isatty():
        yield
    else:
        with redirect_stderr(StringIO()):
            yield
