"""What every test runs under: no hub, no progress bars. A folder of runs, made once. A browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver

    from pages import Open

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


@pytest.fixture(scope="module")
def driver() -> "Iterator[webdriver.Chrome]":
    """A browser, where there is one."""
    import browser

    with browser.chromium() as driver:
        yield driver


@pytest.fixture
def open_page(driver: "webdriver.Chrome", tmp_path: Path) -> "Iterator[Open]":
    """Opens `view(circuit, ...)`; at the end, no complaint and no request may have been made."""
    from browser import Page
    from edgewise.page import view

    local = ("file:", "data:", "chrome:")  # the browser's own first tab is chrome:
    opened = []

    def open_page(circuit: object, **arguments: object) -> Page:
        file = tmp_path / f"page{len(opened)}.html"
        opened.append(Page(driver, view(circuit, file, **arguments)))
        return opened[-1]

    yield open_page
    for page in opened:
        assert page.complaints() == []
        assert [url for url in page.requests() if not url.startswith(local)] == []
