"""`load`: a model by what a person would type.

    a short name      "smollm2-135m"           from an installed package, else the hub
    a folder          "./my-model"             as `save_pretrained` leaves it
    a GGUF file       "./my-model.Q4_1.gguf"   de-quantised once, then kept in the cache
    a hub id          "gpt2", "org/model"      downloaded, or from the hub's own cache

Whatever the source, `transformers` loads it and `adapt` reads it.
"""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from edgewise import runtime
from edgewise.adapt import adapt
from edgewise.errors import ConfigError, ModelError
from edgewise.graph import Embeddings
from edgewise.models.bundled import BUNDLED, installed_parts
from edgewise.models.convert import converted
from edgewise.models.model import Model
from edgewise.models.shapes import SHAPES, shape
from edgewise.offload import offload as offloaded
from edgewise.shard import mesh_of, shard

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
DEVICES = "cpu, cuda, cuda:1, ..."
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")


def load(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    embeddings: Embeddings = "joint",
    check: bool = True,
    shards: int | None = None,
    offload: Literal["disk"] | None = None,
) -> Model:
    """Load a causal language model with its tokenizer, and adapt it.

    Where several processes are connected (`edgewise.runtime`), all of them must call it.

    name       a short name, a folder, a .gguf file or a hub id
    dtype      "float32", "bfloat16", "float16", "float64" or a torch.dtype; "auto" is float32 on
               the CPU and the checkpoint's own dtype elsewhere
    device     where it goes; by default the current GPU if there is one, else the CPU
    revision   of a hub id: a branch, tag or commit
    cache_dir  keeps downloads and converted GGUF files, in place of the user's caches
    trust_remote_code    lets the model's repository run its own Python code here
    attn_implementation  as in transformers: "eager", "sdpa", ...
    embeddings, check    as in `adapt`
    shards     how many processes share the weights of blocks (`edgewise.shard`); unless given, each
               has all. The checkpoint stays mapped from its files until a process takes its part,
               one block at a time
    offload    "disk" leaves the matrices of blocks in their safetensors files until they are used,
               one block at a time (`edgewise.offload`), in the files' own dtype; not with shards

    Raises ConfigError for a device, dtype, shards or offload that can't be, ModelError for a name
    that leads nowhere and for a model that can't be read, DiskError if a converted file finds no
    space.
    """
    name = os.fspath(name)
    device = _device(device)
    if offload not in (None, "disk"):
        raise ConfigError(f"offload={offload!r}: it must be 'disk', or None to keep all in memory")
    if offload and shards is not None:
        raise ConfigError(
            f"weights can be left on disk or shared by {shards} processes, not both: leave out "
            "either offload or shards"
        )
    kind = "auto" if offload and dtype == "auto" else _dtype(dtype, device)
    with runtime.main_only() as first:  # else each process would convert the same file
        place = _place(name, cache_dir) if first else None
    place = place or _place(name, cache_dir)
    mesh = None if shards is None else mesh_of(shards, device)
    if isinstance(place, Path) and revision is not None:
        warnings.warn(
            f"revision={revision!r} has no effect on {name}: only what comes from the hub has any",
            stacklevel=2,
        )
        revision = None
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(place),
        "trust_remote_code": trust_remote_code,
        **({} if revision is None else {"revision": revision}),
        **({} if cache_dir is None else {"cache_dir": os.fspath(cache_dir)}),
    }
    with _explained(name), _bars_on_terminals_only():
        refuse_quantised(AutoConfig.from_pretrained(**source), name)
        tokenizer = _tokenizer(place, source)
        if attn_implementation is not None:
            source["attn_implementation"] = attn_implementation
        # What is loaded in its own dtype, on the CPU, is mapped and takes no memory.
        hf_model = _weights(name, dtype=kind if mesh is None and not offload else "auto", **source)
    given = {"tokenizer": tokenizer, "name": name, "embeddings": embeddings}
    if mesh is not None:
        with runtime.main_only() as first:
            model = adapt(hf_model, **given, check=check and first)
        return shard(model, mesh, None if kind == "auto" else kind)
    if not offload:
        return adapt(hf_model.to(device), **given, check=check)
    if kind not in ("auto", hf_model.dtype):
        raise ConfigError(
            f"{name}: its files hold {hf_model.dtype}, and what is left there can't be {kind}: "
            "name the files' own dtype, leave offload out, or save the model in the dtype you want"
        )
    return offloaded(adapt(hf_model, **given, check=check), device)


def config_of(name: str | os.PathLike[str]) -> Any:
    """The config of a model that `load` takes, or of a known shape; no weights are read
    but a GGUF file's, which is converted first.

    Raises ModelError for a name that leads nowhere.
    """
    name = os.fspath(name)
    if name in SHAPES:
        return shape(name)
    place = _place(name, None)
    with _explained(name):
        return AutoConfig.from_pretrained(str(place))


def refuse_quantised(config: Any, name: str) -> None:
    """ModelError if the weights are kept in a few bits: edgewise multiplies plain floats."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return
    method = found.get("quant_method") if isinstance(found, dict) else found.quant_method
    method = getattr(method, "value", method)
    raise ModelError(
        f"{name}: its weights are quantised ({method}) and edgewise needs "
        "plain floats. Load the checkpoint that it was made from (its model card names it), or a "
        ".gguf file of it, which edgewise de-quantises"
    )


def _device(given: str | torch.device | None) -> torch.device:
    """A device that is there: a GPU unless one is given, the CPU where there is no GPU."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(given or ("cuda" if gpus else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"device {given!r}: choose {DEVICES}") from error
    if device.type == "cuda" and not gpus:
        raise ConfigError(f"device {str(given)!r}: torch finds no GPU here; take cpu")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(f"device {str(given)!r}: the last GPU here is cuda:{gpus - 1}")
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {str(given)!r}: torch can't compute there; choose {DEVICES}"
        ) from error
    return device


def _dtype(dtype: str | torch.dtype, device: torch.device) -> str | torch.dtype:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise ConfigError(f"dtype={str(dtype)!r}: choose 'auto', {', '.join(map(repr, DTYPES))}")
    return found


def _place(name: str, cache_dir: str | os.PathLike[str] | None) -> Path | str:
    """The folder to load, or the hub id."""
    path = Path(name).expanduser()
    if name in BUNDLED:
        parts = installed_parts(BUNDLED[name])
        return BUNDLED[name].hub if parts is None else converted(parts, name, cache_dir)
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{name}: this folder has no config.json; a model's folder is what its "
                "save_pretrained(folder) writes"
            )
        return path
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{name}: there is no such file")
        return converted((path,), path.name, cache_dir)
    if path.is_file():
        raise ModelError(f"{name}: of single files, only .gguf can be loaded\n{_choices()}")
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"{name!r}: no such folder, and no hub id looks like it\n{_choices()}")
    return name


def _tokenizer(place: Path | str, source: dict[str, Any]) -> Any:
    """The tokenizer, or None for a folder without one: transformers would make up an empty one."""
    if isinstance(place, Path) and not any((place / file).is_file() for file in TOKENIZER_FILES):
        return None
    return AutoTokenizer.from_pretrained(**source)


def _weights(name: str, **source: Any) -> nn.Module:
    model, info = AutoModelForCausalLM.from_pretrained(**source, output_loading_info=True)
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with noise
        raise ModelError(
            f"{name}: the checkpoint lacks {len(missing)} weights of a {type(model).__name__} "
            f"({', '.join(missing[:3])}, ...): is it a causal language model, complete?"
        )
    return model


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Failures of transformers and the hub as ModelErrors that say what to type."""
    try:
        yield
    except ModelError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"{name}: {_reason(name, error)}") from error


def _reason(name: str, error: Exception) -> str:
    causes = list(_causes(error))

    def caused_by(kind: type[Exception]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if caused_by(GatedRepoError):
        return "its owner gives access on request: ask on its page, then type `hf auth login`"
    if caused_by(RevisionNotFoundError):
        return f"it has no such revision ({error})"
    if caused_by(RepositoryNotFoundError):
        return f"the hub has no such model, or it is private (`hf auth login`)\n{_choices()}"
    if caused_by(LocalEntryNotFoundError):
        hint = f"; or type\n    {BUNDLED[name].install}" if name in BUNDLED else f"\n{_choices()}"
        return (
            "it is no folder or file here, and the hub can't be reached "
            f"(and its cache doesn't have it){hint}"
        )
    if "trust_remote_code" in str(error):
        return (
            "it comes with Python code of its own, which runs only if you say so: read that code, "
            "then pass trust_remote_code=True"
        )
    return f"transformers can't load it: {error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _choices() -> str:
    return (
        "What can be loaded:\n"
        f"    a short name    {', '.join(BUNDLED)}\n"
        "    a folder        as save_pretrained(folder) leaves it\n"
        "    a GGUF file     model.gguf\n"
        "    a hub id        gpt2, organisation/model"
    )


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """transformers' bars rewrite their line, which a log file shows as many."""
    quiet = not sys.stderr.isatty() and transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
