"""A headless Chromium that opens files, for the tests of the page.

It has a fresh profile and reaches no network. `Page` is one open file; `requests` and `complaints`
are what the browser has asked for and written to its console since the last look.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --window-size=1400,900""".split()


def missing() -> str | None:
    """Why there is no browser here; None if there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"needs {' and '.join(absent)}: apt-get install chromium chromium-driver"
        if absent
        else None
    )


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser for the length of a block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for flag in [*_FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


class Page:
    """A page of `edgewise.view`, opened."""

    def __init__(self, driver: webdriver.Chrome, file: Path) -> None:
        self.driver = driver
        self.complaints()
        self.requests()
        driver.get(file.as_uri())
        self.wait("document.querySelectorAll('.node').length > 0")

    def __call__(self, script: str, *arguments: Any) -> Any:
        """Runs `return (script)`; arguments are a, b, ..."""
        names = ", ".join("abc"[: len(arguments)])
        return self.driver.execute_script(
            f"const [{names}] = arguments; return ({script})", *arguments
        )

    def wait(self, script: str) -> None:
        WebDriverWait(self.driver, 20).until(lambda _: self(script))

    def settle(self) -> None:
        """Waits for what was changed to be drawn."""
        frames = "requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        self.driver.execute_async_script(f"const done = arguments[0]; {frames}")

    def change(self, **changes: Any) -> None:
        """Makes choices as the page's controls do."""
        self("edgewise.change(a)", changes)
        self.settle()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return self("[...document.querySelectorAll(a)].map((e) => e.textContent)", selector)

    def number(self, selector: str) -> int:
        """The number that an element shows."""
        return int(self.find(selector).text.replace(",", "").split()[0])

    def node(self, name: str) -> WebElement:
        return self.find(f'.node[data-component="{self("edgewise.graph.byName.get(a)", name)}"]')

    def click(self, selector: str) -> None:
        self.find(selector).click()
        self.settle()

    def complaints(self) -> list[str]:
        return [f"{e['level']}: {e['message']}" for e in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]
