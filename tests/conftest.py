"""What every test runs under: no hub, no progress bars. And a folder of runs, made once."""

import os
from pathlib import Path

import pytest

# Before transformers and huggingface_hub are imported, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Before torch is imported: on tiny tensors a second thread costs more than it does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before jax is imported: to compile an operation takes it longer than to run it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, two tasks, and a finished run of each method."""
    import commands  # which imports torch

    return commands.make_home(tmp_path_factory.mktemp("home"))
