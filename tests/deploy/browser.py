"""Debian's chromium without a window, and what the page's tests ask of it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import wait_for
from tests.deploy.page_world import World, room_path

ENTER = "\ue007"
"""As WebDriver writes that key."""


@contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Debian's chromium without a window. Skips where it or selenium is not there."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver not found; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    flags = ["--headless=new", f"--window-size={width},{height}", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={folder}"]
    for flag in flags + (["--no-sandbox"] if os.geteuid() == 0 else []):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield found
    finally:
        found.quit()


def log_in(chrome: Any, token: str) -> None:
    one(chrome, "#token").send_keys(token + ENTER)


def every(chrome: Any, selector: str) -> list[Any]:
    return list(chrome.find_elements("css selector", selector))


def one(chrome: Any, selector: str) -> Any:
    """The first element that fits, or None."""
    return next(iter(every(chrome, selector)), None)


def card(room: int) -> str:
    return f'.card[href="#/room/{room_path(room)}"]'


def open_room(chrome: Any, page: World, room: int | str) -> None:
    """Show a room, by its number or its path, once its charts are drawn."""
    chrome.get(f"{page.url}/#/room/{room if isinstance(room, str) else room_path(room)}")
    wait_for(lambda: every(chrome, ".plot .u-over") and text(chrome, ".readout"))


def text(chrome: Any, selector: str) -> str:
    """Text of the first element that fits; read at once, since the page may draw it anew at any moment."""
    return str(chrome.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def active(chrome: Any) -> Any:
    return chrome.switch_to.active_element


PIXELS = """
const over = document.querySelector('[data-panel=engagement] .u-over').getBoundingClientRect();
const canvas = document.querySelector('[data-panel=engagement] canvas');
const scale = canvas.width / canvas.getBoundingClientRect().width;
const left = (over.left - canvas.getBoundingClientRect().left) * scale;
const row = canvas.getContext('2d').getImageData(left, 0, over.width * scale, canvas.height);
const seen = new Set();
const [from, to] = arguments;
for (let y = 0; y < row.height; y++) for (let x = Math.ceil(from * row.width); x < to * row.width; x++) {
  const at = 4 * (y * row.width + x);
  if (row.data[at + 3] === 255) seen.add([...row.data.slice(at, at + 3)].join());
}
const name = (word) => getComputedStyle(document.documentElement).getPropertyValue(word).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join();
return ['hole-wash', 'none-wash', 'accent'].filter((word) => seen.has(rgb(name('--' + word))));
"""
"""Which of our colours the chart of the index has in a stretch; its ends are shares of the width."""


def colours(chrome: Any, first: int, last: int) -> list[str]:
    """Colours between two moments, in minutes before now, of a chart of eight hours."""
    return list(chrome.execute_script(PIXELS, 1 - first / 480, 1 - last / 480))
