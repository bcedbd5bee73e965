"""What is seen of the page: contrast, paper, dense charts, long words, and nothing said of what is not known yet."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.errors import UnavailableError
from deploy.collector.bench.lessons import window_of
from tests.deploy.browser import card, every, log_in, one, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import TOKEN, World, now_ms, world

LONG, NONE, OFF, PAUSED, BAD = range(80, 85)
LONGEST = "x" * 64


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard eight hours of one room, rooms in other states, and one with the longest names."""
    try:
        with world(tmp_path_factory.mktemp("collector")) as found:
            found.history(LONG, 480)
            found.history(NONE, 3, suppressed=range(3))
            for room in (OFF, PAUSED, BAD):
                found.history(room, 3)
            found.publish(OFF, "status", {"state": "disconnected", "session": 1})
            found.publish(PAUSED, "status", {"state": "paused", "reason": "paused", "session": 1})
            found.publish(BAD, "status", {"state": "degraded", "reason": "thermal.under-voltage", "session": 1})
            named = json.loads(window_of(90, 1, now_ms())) | dict.fromkeys(("site", "room", "agent"), LONGEST)
            topic = f"fer/v1/{LONGEST}/{LONGEST}/{LONGEST}/window"
            found._client.publish(topic, json.dumps(named), qos=1).wait_for_publish(10)
            yield found
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def browser(chrome: Any, page: World) -> Iterator[Any]:
    """The browser, logged in, looking at all rooms."""
    chrome.get(page.url + "/login")
    chrome.delete_all_cookies()
    chrome.execute_script("localStorage.clear()")
    chrome.get(page.url + "/login")
    log_in(chrome, TOKEN)
    wait_for(lambda: len(every(chrome, ".card")) == 6)
    yield chrome
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


CONTRAST = """
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (above, below) => below.map((v, i) => above[i] * above[3] + v * (1 - above[3]));
const line = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * line(r) + 0.7152 * line(g) + 0.0722 * line(b);
const found = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
  if (!own || !e.checkVisibility()) continue;
  let [ground, opacity, chain] = [[255, 255, 255], 1, []];
  for (let p = e; p; p = p.parentElement) {
    chain.unshift(getComputedStyle(p).backgroundColor);
    opacity *= getComputedStyle(p).opacity;
  }
  for (const colour of chain) ground = over(rgba(colour), ground);
  const ink = rgba(getComputedStyle(e).color);
  ink[3] *= opacity;
  const [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), own]);
}
return found;
"""
"""The contrast of each text with what is below it, as WCAG 2 defines it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["rooms", "room", "devices"])
def test_all_text_can_be_read(browser: Any, page: World, scheme: str, view: str) -> None:
    """Every word has a contrast of 4.5 at least: the states on their tints, and numbers that are not of now."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    if view == "room":
        open_room(browser, page, LONG)
    elif view == "devices":
        browser.get(f"{page.url}/#/devices")
        wait_for(lambda: len(every(browser, "tbody tr")) == 6)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 20
    assert [(round(ratio, 2), words) for ratio, words in found if ratio < 4.5] == []


def test_devices_are_named_whole(browser: Any, page: World) -> None:
    """Neither a room's name nor why its device is not well is cut off in the table of devices."""
    browser.get(f"{page.url}/#/devices")
    wait_for(lambda: "the power supply is too weak" in text(browser, "tbody"))
    cells = "[...document.querySelectorAll('tbody th, td:first-of-type')]"
    cut = browser.execute_script(f"return {cells}.filter((e) => e.scrollWidth > e.clientWidth)")
    assert [cell.text for cell in cut] == []


def test_paper_shows_all_of_a_chart_and_a_table(browser: Any, page: World) -> None:
    """On a sheet that is narrower than the screen the charts are smaller, not cut off, and the table is there in full.

    The sheet is made of the panels alone: the page learns nothing of it, as when it is printed."""
    open_room(browser, page, LONG)
    one(browser, ".table summary").click()
    wait_for(lambda: len(every(browser, ".table tbody tr")) > 400)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    sizes = browser.execute_script("""
        document.querySelectorAll(".panel, .table .scroll").forEach((e) => (e.style.width = "500px"));
        const [plot, canvas] = [".plot", ".plot canvas"].map((name) => document.querySelector(name));
        const { width, height } = canvas.getBoundingClientRect();
        const scroll = document.querySelector(".table .scroll");
        return [plot.clientWidth, width, canvas.width / canvas.height, width / height,
                scroll.scrollHeight, scroll.clientHeight];""")
    place, width, drawn, shown, rows, seen = sizes
    assert width <= place < 500
    assert shown == pytest.approx(drawn, rel=0.02)
    assert rows <= seen + 1


def test_paper_is_light(browser: Any, page: World) -> None:
    """Who chose the dark theme prints on a light ground, charts too, and has the dark one again afterwards."""
    browser.execute_script("localStorage.setItem('theme', 'dark')")
    browser.refresh()
    open_room(browser, page, LONG)
    browser.execute_script("""
        const ground = () => getComputedStyle(document.body).backgroundColor;
        const before = document.querySelector(".plot canvas");
        window.seen = [ground()];
        addEventListener("beforeprint", () => seen.push(ground(), before.isConnected));""")
    browser.execute_cdp_cmd("Page.printToPDF", {})
    dark, light, stale = wait_for(lambda: browser.execute_script("return seen.length === 3 && seen"))
    assert (light, stale) == ("rgb(244, 246, 245)", False)
    wait_for(lambda: browser.execute_script("return getComputedStyle(document.body).backgroundColor") == dark)


def test_shares_keep_their_colours_where_windows_are_dense(browser: Any, page: World) -> None:
    """Eight hours in a week's chart are some pixels wide: their areas are not painted over by lines between them."""
    open_room(browser, page, LONG)
    browser.find_element("xpath", "//button[.='Week']").click()
    wait_for(lambda: text(browser, "[aria-label=Range] [aria-pressed=true]") == "Week")
    pale = browser.execute_script("""
        const canvas = document.querySelector("[data-panel=emotions] canvas");
        const boxes = [canvas, canvas.parentNode.querySelector(".u-over")].map((e) => e.getBoundingClientRect());
        const [frame, over] = boxes;
        const scale = canvas.width / frame.width;
        const x = over.left - frame.left + (1 - 4 / 168) * over.width;
        const y = over.top - frame.top;
        const found = canvas.getContext("2d").getImageData(x * scale, (y + 4) * scale, 1, (over.height - 8) * scale);
        let pale = 0;
        for (let i = 0; i < found.data.length; i += 4) pale += Math.min(...found.data.slice(i, i + 3)) > 215;
        return pale / found.height;""")
    assert pale == 0


def test_what_did_not_arrive_is_not_told_as_none(browser: Any, page: World) -> None:
    """As long as the rooms are not loaded the page does not say that there are none, nor what to do about that."""
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/api/rooms*"]})
    browser.get("about:blank")
    browser.get(page.url)
    wait_for(lambda: one(browser, "#link[data-state=lost]"))
    assert text(browser, ".empty") == "Waiting for the collector's answer."
    assert text(browser, ".summary") == ""
    browser.get("about:blank")
    browser.get(f"{page.url}/{one_path()}")
    wait_for(lambda: "Could not load" in text(browser, ".readout"))
    assert text(browser, ".present") == "Waiting for the collector's answer."
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    wait_for(lambda: one(browser, ".present .value"), 20)


def test_a_range_that_could_not_be_loaded_is_tried_again(browser: Any, page: World) -> None:
    """A year that failed to load is not left standing as the range before it until an hour has passed."""
    open_room(browser, page, NONE)
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/series*"]})
    browser.find_element("xpath", "//button[.='Year']").click()
    wait_for(lambda: "Could not load" in text(browser, ".readout"))
    assert "Trying again" in text(browser, ".readout")
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    wait_for(lambda: text(browser, "[aria-label=Range] [aria-pressed=true]") == "Year", 20)
    assert "Could not load" not in text(browser, ".readout")


def one_path() -> str:
    """The address of one room, after the server's."""
    return card(LONG).partition('"')[2].partition('"')[0]
