"""A headless browser, driven by the W3C WebDriver protocol over HTTP, for pages that have to work in one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element
ENTER, TAB, SPACE = "\ue007", "\ue004", " "
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,1400"]


def missing() -> str:
    """Why there is no browser to test with, "" if there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} here: apt-get install chromium chromium-driver" if absent else ""


class Browser:
    """One window. Elements are ids that `find` gives."""

    def __init__(self, address: str, dark: bool) -> None:
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, *(["--force-dark-mode"] if dark else [])]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        self._at = f"{address}/session"
        self._at += "/" + self._ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask("/url", {"url": url})

    def find(self, selector: str) -> list[str]:
        """The elements of a CSS selector."""
        return [found[ELEMENT] for found in self._ask("/elements", {"using": "css selector", "value": selector})]

    def click(self, element: str) -> None:
        """Click the middle of an element."""
        self._ask(f"/element/{element}/click", {})

    def press(self, key: str) -> None:
        """Press and release a key, wherever the focus is."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def shown(self, element: str) -> bool:
        """Whether an element can be seen."""
        return self._ask(f"/element/{element}/displayed")

    def text(self, element: str) -> str:
        """The text of an element as it is rendered."""
        return self._ask(f"/element/{element}/text")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def close(self) -> None:
        """Close the window."""
        self._ask("", method="DELETE")

    def _ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._at + path, data, {"Content-Type": "application/json"}, method=method)
        with DIRECT.open(request, timeout=120) as reply:
            return json.load(reply)["value"]


@contextmanager
def browser(dark: bool = False) -> Iterator[Browser]:
    """A browser of its own, closed at the end."""
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        try:
            port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            window = Browser(f"http://127.0.0.1:{port}", dark)
            try:
                yield window
            finally:
                window.close()
        finally:
            driver.terminate()
