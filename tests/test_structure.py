"""The shape of the source: layers, public names, and what is written nowhere in it."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import edgewise

ROOT = Path(edgewise.__file__).parent

# A module imports from its own level and those above it in this list, without cycles.
# A package stands for all that is in it.
LEVELS = (
    ("errors",),
    ("graph", "files", "table"),
    ("attention", "curve", "estimate", "report", "workspace"),
    ("wiring", "circuit", "scores", "ops", "runtime", "peak", "runs", "plan", "counting"),
    ("cuts", "bundles"),
    ("models", "tasks", "metrics"),
    ("ablation", "mlp", "heads", "job", "stream", "gradient", "applied"),
    ("patterns", "prepared", "suffix", "proof"),
    ("shard", "offload"),
    ("adapt", "loading"),
    ("discovery", "evaluation", "forecast", "solved", "tracr"),
    ("eap_ig", "mib", "compare", "drawing", "export", "page", "figures", "picture"),
    ("cli", "__main__"),
)
WITHOUT_TORCH = (
    "graph",
    "files",
    "wiring",
    "circuit",
    "scores",
    "attention",
    "report",
    "compare",
    "export",
    "page",
)
MAX_LINES = 400


def module_name(path: Path) -> str:
    """ "models.block" of ROOT/models/block.py, "models" of its __init__.py, "" of the root's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in SOURCES.items()}
NAMES = [name for name in SOURCES if name]

each_module = pytest.mark.parametrize("name", list(SOURCES), ids=lambda name: name or "__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of edgewise that `tree` imports, wherever it does: a deferred import counts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name[9:] for a in node.names if a.name.startswith("edgewise."))
        elif isinstance(node, ast.ImportFrom) and node.module == "edgewise":
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgewise."):
            inside = [f"{node.module[9:]}.{a.name}" for a in node.names]
            yield from (name if name in SOURCES else node.module[9:] for name in inside)


def level(name: str) -> int:
    top = name.split(".")[0]
    found = [i for i, names in enumerate(LEVELS) if top in names]
    assert found, f"{top} is at no level: add it to LEVELS in {Path(__file__).name}"
    return found[0]


# Layers


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name: str) -> None:
    for other in imported(TREES[name]):
        assert other in SOURCES, f"{name} imports edgewise.{other}, which is no module"
        assert level(other) <= level(name), f"{name} imports {other}, which stands above it"


def test_no_import_cycles() -> None:
    sorter = graphlib.TopologicalSorter({name: set(imported(TREES[name])) for name in NAMES})
    sorter.prepare()  # raises CycleError, which shows the cycle


def test_circuits_are_read_without_torch() -> None:
    names = [f"edgewise.{name}" for name in WITHOUT_TORCH if name in SOURCES]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Public names


@pytest.fixture
def public() -> list[str]:
    if not hasattr(edgewise, "__all__"):
        pytest.skip("edgewise has no public names yet")
    return list(edgewise.__all__)


def test_public_names_are_all(public: list[str]) -> None:
    """What `dir` shows is `__all__`, but for modules that something imported."""
    shown = {name for name in dir(edgewise) if not name.startswith("_")}
    values = {name: getattr(edgewise, name) for name in shown | set(public)}
    modules = {name for name, value in values.items() if isinstance(value, ModuleType)}
    assert sorted(shown - (modules - set(public))) == sorted(public)
    assert len(set(public)) == len(public)


def test_modules_do_not_hide_functions(public: list[str]) -> None:
    """Once every module is imported, `edgewise.view` must still be the function."""
    hidden = [name for name in public if name in SOURCES and name != "tasks"]
    code = "import importlib, sys, types\n"
    code += f"for name in {[n for n in NAMES if n != '__main__']}:\n"
    code += "    importlib.import_module('edgewise.' + name)\n"
    code += "import edgewise\n"
    code += f"sys.exit(any(isinstance(getattr(edgewise, n), types.ModuleType) for n in {hidden}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is written nowhere


@each_module
def test_files_are_short(name: str) -> None:
    assert len(SOURCES[name].read_text().splitlines()) <= MAX_LINES


@each_module
def test_no_bare_except(name: str) -> None:
    handlers = (n for n in ast.walk(TREES[name]) if isinstance(n, ast.ExceptHandler))
    assert [h.lineno for h in handlers if h.type is None] == []


@each_module
def test_no_pickle(name: str) -> None:
    tree = TREES[name]
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    picklers = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert {module.split(".")[0] for module in modules} & picklers == set()
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert calls & {"torch.load", "torch.save"} == set()
    keywords = (n for n in ast.walk(tree) if isinstance(n, ast.keyword))
    assert not any(keyword.arg == "allow_pickle" for keyword in keywords)


@each_module
def test_no_absolute_paths(name: str) -> None:
    """Nor a machine's folders in a docstring."""
    path = re.compile(r"(?<![\w.~/])/(home|root|Users|tmp|work|mnt|opt|usr|var|etc)/|\b[A-Z]:\\")
    texts = (n.value for n in ast.walk(TREES[name]) if isinstance(n, ast.Constant))
    assert [text for text in texts if isinstance(text, str) and path.search(text)] == []
