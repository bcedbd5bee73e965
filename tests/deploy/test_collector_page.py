"""The live page as time goes by: troubles, silence, focus, many tabs. In a real browser, on a real collector."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.collector.bench.lessons import free_port, running_broker, suppressed_window, window_of
from tests.deploy.browser import card, every, one, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import MINUTE, TOKEN, World, collector, now_ms, room_path, world

FIRST, SECOND, THIRD = range(60, 63)
"""Rooms of one site; their names are in the order of these numbers."""
SPY = """
const Real = window.EventSource;
window.EventSource = class extends Real { constructor(path) { super(path); window.source = this; } };
"""
"""Keeps the page's event stream where a test reaches it."""


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard three rooms."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        for room, minutes in ((FIRST, 70), (SECOND, 3), (THIRD, 3)):
            found.history(room, minutes)
        yield found


@pytest.fixture(scope="module")
def chrome(chrome: Any) -> Any:
    chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SPY})
    return chrome


@pytest.fixture
def browser(chrome: Any, page: World) -> Iterator[Any]:
    """The browser, looking at all rooms, each of which was heard a moment ago; its console stays free of errors."""
    for room in (FIRST, SECOND, THIRD):
        speak(page, room)
    chrome.get("about:blank")
    chrome.get(f"{page.url}/login#{TOKEN}")
    chrome.get_log("browser")
    wait_for(lambda: one(chrome, "#link[data-state=live]") and conditions(chrome) == ["live"] * 3)
    yield chrome
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    said = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    assert said == []


def speak(page: World, room: int, **more: Any) -> None:
    """Publish the next window of a room, and wait until the page's server knows it."""
    seq = (page.seq(room) or 0) + 1
    page.publish(room, "window", window_of(room, seq, now_ms(), **more))
    wait_for(lambda: page.seq(room) == seq)


def trouble(chrome: Any, broker: str | None, database: str | None) -> None:
    """Let the page hear what a collector says that has a trouble, or is over it."""
    said = json.dumps({"broker": broker, "database": database})
    chrome.execute_script("source.dispatchEvent(new MessageEvent('trouble', {data: arguments[0]}))", said)


def later(chrome: Any, minutes: float) -> None:
    """Move the page's clock on from now."""
    chrome.execute_script("const real = Date.now; Date.now = () => real() + arguments[0]", minutes * MINUTE)


def conditions(chrome: Any) -> list[str]:
    """What the cards say of their rooms, in their order."""
    script = "return [...document.querySelectorAll('.card')].map((card) => card.dataset.id)"
    return list(chrome.execute_script(script))


def order(chrome: Any) -> list[str]:
    """Which rooms the cards are of, in their order."""
    script = "return [...document.querySelectorAll('.card')].map((card) => card.getAttribute('href').slice(7))"
    return list(chrome.execute_script(script))


def focus(chrome: Any) -> str:
    return str(chrome.execute_script("return document.activeElement.getAttribute('href')"))


def condition(chrome: Any, room: dict[str, Any], after_s: float, blind: dict[str, int] | None = None) -> dict[str, Any]:
    """What words.js makes of a room so many seconds after its last window came."""
    script = """
        const [room, after, blind, done] = arguments;
        import("/static/words.js").then(({ condition }) => {
          done(condition(room, room.window_ms + after, blind ?? undefined));
        });
    """
    return dict(chrome.execute_async_script(script, room, 1000 * after_s, blind))


def room_with(length_s: float, *, partial: bool, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """A room as the page knows it, 1000 s after the beginning of time, with a last window of that length."""
    end = 1_000_000
    window = {"start_ms": end - 1000 * length_s, "end_ms": end, "partial": partial, "suppressed": None}
    return {"window": window, "window_ms": end, "meta": meta}


NEXT_DAY = """
const Real = Date;
window.Date = class extends Real {
  constructor(...parts) { super(...(parts.length ? parts : [Date.now()])); }
  static now() { return Real.now() + 30 * 3600000; }
};
"""


def test_what_was_told_the_day_before_gets_its_date(browser: Any, page: World) -> None:
    """A page that stands open overnight does not tell yesterday's time of a device that was stopped as one of today."""
    page.publish(FIRST, "status", {"state": "disconnected", "session": 1})
    wait_for(lambda: text(browser, f"{card(FIRST)} .pill") == "Off")
    last = f"{card(FIRST)} .facts div:nth-child(3)"
    assert ":" in text(browser, f"{last} dd")
    browser.execute_script(NEXT_DAY)
    wait_for(lambda: ":" not in text(browser, f"{last} dd"))
    assert one(browser, last).get_attribute("title") == "30 h ago"
    page.publish(FIRST, "status", {"state": "ready", "session": 2})


@pytest.mark.parametrize(
    ("broker", "database", "words"), [("away", None, "No broker"), (None, "away", "Database away")]
)
def test_a_trouble_is_named(browser: Any, broker: str | None, database: str | None, words: str) -> None:
    """While the collector has no broker or no database the page says that, not that it is live; and when it is over."""
    trouble(browser, broker, database)
    assert text(browser, "#link") == words
    assert one(browser, "#link").get_attribute("data-state") != "live"
    trouble(browser, None, None)
    assert text(browser, "#link") == "Live"


@pytest.mark.usefixtures("mosquitto")
def test_a_broker_that_went_away_is_named(tmp_path: Path, chrome: Any) -> None:
    """The page says it when the collector's broker is gone, and when it is back."""
    with ExitStack() as rest, ExitStack() as gone:
        broker = gone.enter_context(running_broker())
        found = rest.enter_context(World(broker, free_port(), f"sqlite:///{tmp_path}/windows.db"))
        rest.enter_context(collector(found, tmp_path))
        chrome.get(f"{found.url}/login#{TOKEN}")
        wait_for(lambda: text(chrome, "#link") == "Live")
        gone.close()
        wait_for(lambda: text(chrome, "#link") == "No broker")
        with running_broker(broker):
            wait_for(lambda: text(chrome, "#link") == "Live", 30)


@pytest.mark.parametrize("word", ["broker", "database"])
@pytest.mark.parametrize("width", [360, 390])
def test_a_trouble_fits_a_phone(browser: Any, width: int, word: str) -> None:
    """On a phone a trouble is named beside its dot, and the page is no wider for it."""
    phone = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    trouble(browser, **{"broker": None, "database": None, word: "away"})
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script("return parseFloat(getComputedStyle(document.getElementById('link')).fontSize)") > 10


def test_rooms_are_not_blamed_for_a_trouble(browser: Any) -> None:
    """A room that nobody can hear is not called silent: it has its last words, with their age, and a time to speak."""
    trouble(browser, "away", None)
    later(browser, 10)
    wait_for(lambda: conditions(browser) == ["unknown"] * 3)
    assert text(browser, f"{card(FIRST)} .pill") == "10 min ago"
    assert "0 silent" in text(browser, ".summary")
    assert "3 unknown" in text(browser, ".summary")
    browser.find_element("xpath", "//button[.='Reporting']").click()
    assert len(every(browser, ".card")) == 3
    browser.find_element("xpath", "//button[.='All']").click()
    trouble(browser, None, None)
    later(browser, 2)
    assert conditions(browser) == ["unknown"] * 3
    later(browser, 5)
    wait_for(lambda: conditions(browser) == ["silent"] * 3)


def test_who_was_silent_before_a_trouble_stays_so(browser: Any) -> None:
    """A room is unknown only if it fell silent while it could not be heard, and until it could speak again."""
    room = room_with(60, partial=False)  # silent from 1190 s on
    troubles = [{"from": 1_100_000, "until": 1_400_000}, {"from": 1_195_000, "until": 1_400_000}]
    assert [condition(browser, room, 450, t)["id"] for t in troubles] == ["unknown", "silent"]
    assert condition(browser, room, 600, troubles[0])["id"] == "silent"


@pytest.mark.parametrize(
    ("length_s", "partial", "meta", "silent_after"),
    [(3, True, {"window_s": 60}, 190), (3, True, None, 190), (20, False, None, 70), (60, False, {"window_s": 5}, 25)],
)
def test_a_window_cut_short_makes_nobody_silent(
    browser: Any, length_s: float, partial: bool, meta: dict[str, Any] | None, silent_after: float
) -> None:
    """How long a room may be quiet follows from what it says of its windows, never from one that a stop cut short."""
    room = room_with(length_s, partial=partial, meta=meta)
    assert condition(browser, room, silent_after)["id"] == "live"
    assert condition(browser, room, silent_after + 1)["id"] == "silent"


def test_a_filter_holds_as_time_goes_by(browser: Any, page: World) -> None:
    """With "Silent" chosen a room appears when it falls silent, and goes when it speaks."""
    browser.find_element("xpath", "//button[.='Silent']").click()
    wait_for(lambda: text(browser, ".empty") == "No room matches.")
    later(browser, 10)
    wait_for(lambda: len(order(browser)) == 3)
    page.publish(SECOND, "status", {"state": "paused", "reason": None, "session": 1})
    wait_for(lambda: order(browser) == [room_path(FIRST), room_path(THIRD)])
    page.publish(SECOND, "status", {"state": "ready", "reason": None, "session": 1})
    wait_for(lambda: len(order(browser)) == 3)
    browser.find_element("xpath", "//button[.='All']").click()


def test_devices_fall_silent_by_themselves(browser: Any, page: World) -> None:
    """The list of devices says who is silent although no message comes any more."""
    browser.get(f"{page.url}/#/devices")
    wait_for(lambda: len(every(browser, "tbody tr[data-id=live]")) == 3)
    later(browser, 10)
    wait_for(lambda: len(every(browser, "tbody tr[data-id=silent]")) == 3)
    assert "10 min ago" in text(browser, "tbody tr")


def test_an_outage_grows_in_the_chart(browser: Any, page: World) -> None:
    """A chart that follows the present shows the time without windows although no message comes any more."""
    open_room(browser, page, FIRST)
    browser.find_element("xpath", "//button[.='1 h']").click()
    wait_for(lambda: "No data (no window arrived): none" in text(browser, ".key"))
    later(browser, 30)
    wait_for(lambda: re.search(r"No data \(no window arrived\): (28|29) min", text(browser, ".key")))
    script = "return document.querySelector('[data-now]').getAttribute('aria-pressed')"
    assert browser.execute_script(script) == "true"


def test_late_windows_appear_in_the_past(browser: Any, page: World) -> None:
    """A chart of past hours shows windows that come while somebody looks at it: an agent sends what it kept."""
    open_room(browser, page, SECOND)
    browser.find_element("xpath", "//button[.='1 h']").click()
    one(browser, "[aria-label=Earlier]").click()
    wait_for(lambda: "No window in this range" in text(browser, ".readout"))
    seq = (page.seq(SECOND) or 0) + 1
    page.publish(SECOND, "window", window_of(SECOND, seq, now_ms() - 50 * MINUTE))
    wait_for(lambda: page.seq(SECOND) == seq)
    later(browser, 2)
    wait_for(lambda: "Index" in text(browser, ".readout"))


def test_a_room_without_a_result_says_only_that(browser: Any, page: World) -> None:
    """The view of a room whose newest window has no result names the reason, and nothing that is not there."""
    seq = (page.seq(THIRD) or 0) + 1
    page.publish(THIRD, "window", suppressed_window(THIRD, seq, now_ms()))
    open_room(browser, page, THIRD)
    wait_for(lambda: "too few people for a result" in text(browser, ".present"))
    assert "undefined" not in text(browser, ".present")


@pytest.mark.parametrize(("words", "rests", "reloads"), [("Week", 3, 6), ("Year", 50, 61)])
def test_long_ranges_are_drawn_anew(browser: Any, page: World, words: str, rests: float, reloads: float) -> None:
    """A long range that follows the present is loaded again by itself, the more rarely the longer it is."""
    asked = "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/series')).length"
    open_room(browser, page, FIRST)
    before = browser.execute_script(asked)
    browser.find_element("xpath", f"//button[.='{words}']").click()
    wait_for(lambda: browser.execute_script(asked) == before + 1)
    ticks = "const done = arguments[0]; setTimeout(done, 5500)"
    later(browser, rests)
    browser.execute_async_script(ticks)
    assert browser.execute_script(asked) == before + 1
    later(browser, reloads - rests)
    browser.execute_async_script(ticks)
    assert browser.execute_script(asked) == before + 2


def test_focus_stays_when_cards_move(browser: Any, page: World) -> None:
    """With the rooms in the order in which they were heard, the focus stays on its room, wherever that goes."""
    choose = "const s = document.querySelector('select'); s.value = 'heard'; s.dispatchEvent(new Event('change'))"
    browser.execute_script(choose)
    browser.execute_script("document.querySelector(arguments[0]).focus()", card(FIRST))
    for room in (SECOND, FIRST):
        speak(page, room)
        wait_for(lambda room=room: order(browser)[0] == room_path(room))
        assert focus(browser) == f"#/room/{room_path(FIRST)}"


def test_cards_in_place_are_left_alone(browser: Any) -> None:
    """In an order other than that of the names nothing is attached anew while the order is the same."""
    choose = "const s = document.querySelector('select'); s.value = 'heard'; s.dispatchEvent(new Event('change'))"
    browser.execute_script(choose)
    script = """
        const done = arguments[0];
        let moved = 0;
        const seen = new MutationObserver((records) => (moved += records.length));
        for (const place of document.querySelectorAll(".groups, .cards")) seen.observe(place, { childList: true });
        setTimeout(() => done(moved), 6000);
    """
    assert browser.execute_async_script(script) == 0


def test_devices_are_changed_in_place(browser: Any, page: World) -> None:
    """A message changes the cells of its row: row, link and focus are the same ones."""
    browser.get(f"{page.url}/#/devices")
    wait_for(lambda: len(every(browser, "tbody tr")) == 3)
    browser.execute_script("window.link = document.querySelector('tbody a'); window.link.focus()")
    page.publish(FIRST, "health", {"fps": 7.5, "stages": {}, "rss_mb": 123})
    wait_for(lambda: "7.5" in text(browser, "tbody tr"))
    assert browser.execute_script("return window.link === document.activeElement")


def test_the_same_words_are_said_once(browser: Any, page: World) -> None:
    """What is read aloud is set only when its words change."""
    script = """
        window.said = [];
        const seen = new MutationObserver((records) => window.said.push(...records.map((r) => r.target.textContent)));
        for (const region of document.querySelectorAll("[role=status]")) {
          seen.observe(region, { childList: true, subtree: true, characterData: true });
        }
    """
    browser.execute_script(script)
    shown = text(browser, f"{card(FIRST)} .value b")
    for value in (11, 12):
        engagement = {"value": value, "ci95": None, "delta": None, "weights_id": "w"}
        speak(page, FIRST, engagement=engagement)
        wait_for(lambda value=value: text(browser, f"{card(FIRST)} .value b") == str(value))
    assert shown not in ("11", "12")
    assert browser.execute_script("return window.said") == []


def test_many_tabs_load(browser: Any, page: World) -> None:
    """More tabs than a browser allows connections: the last one loads, and the first is live when seen again."""
    first = browser.current_window_handle
    for _ in range(7):
        browser.switch_to.new_window("tab")
        browser.get(f"{page.url}/#/")
    wait_for(lambda: one(browser, "#link[data-state=live]") and len(every(browser, ".card")) == 3, 30)
    engagement = {"value": 4, "ci95": None, "delta": None, "weights_id": "w"}
    speak(page, SECOND, engagement=engagement)
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)
    wait_for(lambda: text(browser, f"{card(SECOND)} .value b") == "4")
    wait_for(lambda: one(browser, "#link[data-state=live]"))
