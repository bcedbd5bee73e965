"""The page in a real browser where times and names are not simple: past days, wrong clocks, two devices in one room."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from deploy.collector.bench.lessons import window_of
from deploy.collector.database import open_database
from deploy.collector.messages import Message, parse_message
from deploy.collector.rollup import refresh_hours
from deploy.collector.store import Store
from tests.deploy.browser import every, one, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import MINUTE, TOKEN, World, now_ms, world

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed")
DAY = 24 * 60 * MINUTE
LONG = "a-very-long-room-name-in-a-building-with-many-floors-and-wings-x"
STEP, AHEAD, GONE, WIDE, MANY = (f"lab/{room}/dev" for room in ("step", "ahead", "gone", "wide", "many"))
TWINS = ("lab/shared/cam-a", "lab/shared/cam-b")
OTHER = "north/step/dev-2"


def said(path: str, seq: int, end: int, **more: Any) -> Message:
    site, room, agent = path.split("/")
    body = json.loads(window_of(1, seq, end, **more)) | {"site": site, "room": room, "agent": agent}
    return parse_message(f"fer/v1/{path}/window", json.dumps(body).encode())


def index(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "ci95": [low, high], "delta": None, "weights_id": "w"}


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard a dozen rooms."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        engine, now = open_database(found.db), now_ms()
        # An hour, the clock is set back by that, and the hour again.
        first = [said(STEP, n, now - (60 - n) * MINUTE, engagement=index(30, 28, 32)) for n in range(1, 61)]
        again = [said(STEP, 60 + n, now - (60 - n) * MINUTE - 9000, engagement=index(80, 78, 82)) for n in range(1, 60)]
        unset = {"synced": False, "source": None}
        ahead = [said(AHEAD, n, now + 2 * DAY + n * MINUTE, clock=unset) for n in range(1, 4)]
        others = [said(path, 1, now, engagement=index(60, 50, 70)) for path in (*TWINS, OTHER, f"lab/{LONG}/{LONG}")]
        others += [said(WIDE, 1, now, engagement=index(50, -300, 400))]
        others += [said(MANY, n, now - (450 - n) * MINUTE) for n in range(1, 451)]
        Store(engine).write([*first, *again, *ahead, *others], now)
        gone = [said(GONE, n, now - 400 * DAY - (10 - n) * MINUTE, engagement=index(5, 1, 9)) for n in range(1, 11)]
        Store(engine).write(gone, now - 400 * DAY)
        refresh_hours(engine)
        engine.dispose()
        wait_for(lambda: len(found.json("/api/rooms")["rooms"]) == 9)
        yield found


@pytest.fixture
def browser(chrome: Any, page: World) -> Iterator[Any]:
    """The browser, looking at all rooms by name; its console stays free of errors."""
    chrome.get("about:blank")
    chrome.get(f"{page.url}/login#{TOKEN}")
    chrome.get_log("browser")
    wait_for(lambda: len(every(chrome, ".card")) == 9)
    yield chrome
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    errors = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    assert [message for message in errors if "getImageData" not in message] == []


def press(chrome: Any, word: str) -> None:
    chrome.execute_script("arguments[0].click()", chrome.find_element("xpath", f"//button[.='{word}']"))


def sort(chrome: Any, order: str) -> list[str]:
    """Put the cards into this order; return the headings."""
    choose = "const s = document.querySelector('select'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"
    chrome.execute_script(choose, order)
    return list(chrome.execute_script("return [...document.querySelectorAll('.card h3')].map((e) => e.textContent)"))


def words(chrome: Any, script: str, *values: Any) -> Any:
    """What words.js makes of something: the script is an expression over `w`."""
    load = f"const done = arguments[arguments.length - 1]; import('/static/words.js').then((w) => done({script}))"
    return chrome.execute_async_script(load, *values)


def test_the_hour_that_autumn_has_twice_says_which_one_it_is(browser: Any) -> None:
    """Two windows of an hour apart do not stand under the same time."""
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
    try:
        browser.refresh()
        autumn = 1761440340000  # 2025-10-26, 02:59 in summer time
        hours = [autumn - 60 * MINUTE, autumn, autumn + 60 * MINUTE, autumn + 120 * MINUTE]
        assert words(browser, "arguments[0].map(w.clock)", hours) == ["01:59", "02:59 GMT+2", "02:59 GMT+1", "03:59"]
        first, second = words(browser, "arguments[0].map(w.dayClock)", hours[1:3])
        assert (first.endswith("02:59 GMT+2"), second.endswith("02:59 GMT+1")) == (True, True)
    finally:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
        browser.refresh()


def test_a_time_says_its_day_where_that_is_not_today(browser: Any) -> None:
    """A time of today is hours and minutes; of another day it has weekday, day and month; of another year that, too."""
    year = datetime.now().year
    now, before, past = (words(browser, "w.when(arguments[0])", now_ms() - back) for back in (0, 2 * DAY, 400 * DAY))
    assert len(now) == 5
    assert (datetime.fromtimestamp(now_ms() / 1000 - 2 * 86400)).strftime("%b") in before
    assert any(str(year - n) in past for n in (1, 2))
    assert str(year) not in now


def test_the_shown_span_is_named(browser: Any, page: World) -> None:
    """Beside the range stand the days that are shown, with the year where it is not this one; so has the readout."""
    open_room(browser, page, STEP)
    day = datetime.now()
    assert all(word in text(browser, ".shown") for word in (day.strftime("%a"), day.strftime("%b"), str(day.day)))
    assert str(day.year) not in text(browser, ".shown")
    press(browser, "Year")
    wait_for(lambda: all(str(year) in text(browser, ".shown") for year in (day.year, day.year - 1)))
    open_room(browser, page, GONE)
    press(browser, "Year")
    one(browser, "[aria-label=Earlier]").click()
    year = str(datetime.fromtimestamp(now_ms() / 1000 - 400 * 86400).year)
    wait_for(lambda: year in text(browser, ".shown") and "Index" in text(browser, ".readout"))
    assert year in text(browser, ".readout")


def test_a_wrong_clock_is_named(browser: Any, page: World) -> None:
    """A device whose windows carry another date is not just "Live" with an empty chart: card, devices and chart say
    that its clock is not set, and which date the windows carry."""
    card = f'.card[href="#/room/{AHEAD}"]'
    assert text(browser, f"{card} .pill") == "Wrong clock"
    day = datetime.fromtimestamp((now_ms() + 2 * DAY) / 1000)
    assert f"{day.day}" in text(browser, f"{card} .facts div:nth-child(3) dd")
    open_room(browser, page, AHEAD)
    wait_for(lambda: "this device's windows carry another date" in text(browser, ".readout"))
    assert "its clock is not set" in text(browser, ".state")
    assert day.strftime("%b") in text(browser, ".readout")
    browser.get(f"{page.url}/#/devices")
    wait_for(lambda: "Wrong clock: its clock is not set" in text(browser, "tbody"))


@pytest.mark.parametrize(
    ("synced", "ahead_min", "word", "why"),
    [
        (True, 0, "Live", ""),
        (True, -300, "Live", ""),  # it waited somewhere
        (True, 20, "Wrong clock", "its clock is ahead of the collector's"),
        (False, 0, "Live", "its clock is not set"),
        (False, -300, "Wrong clock", "its clock is not set"),
        (False, 20, "Wrong clock", "its clock is not set"),
    ],
)
def test_a_delay_is_no_wrong_clock(browser: Any, synced: bool, ahead_min: int, word: str, why: str) -> None:
    """A window that comes hours late by a synchronised clock is a delay; one from the future, or far off by a clock
    that nobody set, is a wrong clock."""
    end = 10**12 + ahead_min * MINUTE
    window = {"start_ms": end - MINUTE, "end_ms": end, "suppressed": None, "clock": {"synced": synced}}
    found = words(browser, "w.condition(arguments[0], 10 ** 12)", {"window": window, "window_ms": 10**12})
    assert (found["word"], found["why"]) == (word, why)


LANES = """
const [path, done] = arguments;
const to = Date.now() + 1;
Promise.all([import("/static/shape.js"), fetch(`/api/rooms/${path}/series?from=${to - 2 * 3600000}&to=${to}`)])
  .then(async ([{ shape }, answer]) => {
    const series = await answer.json();
    const { t, rows, drawn, lane, lanes } = shape(series, to);
    const line = (k) => rows.flatMap((row, i) => (drawn[i] && lane[i] === k ? [series.engagement[row]] : []));
    const lines = Array.from({ length: lanes }, (_, k) => line(k));
    done({ sorted: t.every((at, i) => !i || t[i - 1] <= at), lines });
  });
"""
"""The values of each line that the page makes of two hours of a room."""


def test_a_clock_set_back_is_two_lines(browser: Any, page: World) -> None:
    """An hour that a device told twice is two lines, each as its windows were made, and not one that jumps."""
    found = browser.execute_async_script(LANES, STEP)
    assert found["sorted"]
    assert sorted(sorted(set(line)) for line in found["lines"]) == [[30.0], [80.0]]
    open_room(browser, page, STEP)
    press(browser, "1 h")
    wait_for(lambda: heights(browser) == [False, True, False, True, False])
    one(browser, ".crumb a").click()
    line = f'.card[href="#/room/{STEP}"] .trend path'
    wait_for(lambda: one(browser, line))
    assert one(browser, line).get_attribute("d").count("M") == 2


def heights(chrome: Any) -> list[bool]:
    """Whether the middle of the chart has ink of the index's line near 95, 80, 55, 30 and 10."""
    script = """
        const over = document.querySelector('[data-panel=engagement] .u-over').getBoundingClientRect();
        const canvas = document.querySelector('[data-panel=engagement] canvas');
        const all = canvas.getBoundingClientRect();
        const scale = canvas.width / all.width;
        const accent = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim();
        const rgb = [1, 3, 5].map((i) => parseInt(accent.slice(i, i + 2), 16));
        const has = (value) => {
          const y = (over.top - all.top + over.height * (1 - value / 100)) * scale;
          const x = (over.left - all.left + over.width * 0.4) * scale;
          const { data } = canvas.getContext('2d').getImageData(x, y - 4, over.width * 0.2 * scale, 8);
          const near = (at) => rgb.every((c, i) => Math.abs(data[at + i] - c) < 12);
          return data.some((_, at) => at % 4 === 0 && near(at));
        };
        return [95, 80, 55, 30, 10].map(has);
    """
    return list(chrome.execute_script(script))


def test_devices_of_one_room_are_told_apart(browser: Any, page: World) -> None:
    """Where a room has two devices, or rooms of two sites one name, each card says which it is; so do the room's own
    page and the list of devices."""
    assert [name for name in sort(browser, "name") if "shared" in name] == ["shared cam-a", "shared cam-b"]
    names = sort(browser, "heard")
    assert {"lab / step", "north / step", "lab / shared cam-a"} <= set(names)
    assert len(names) == len(set(names))
    sort(browser, "name")
    open_room(browser, page, TWINS[1])
    assert text(browser, ".crumb") == "Rooms / lab · cam-b"
    browser.get(f"{page.url}/#/devices")
    wait_for(lambda: "lab / shared cam-a" in text(browser, "tbody") and "lab / shared cam-b" in text(browser, "tbody"))


def test_what_is_long_ago_is_dated_and_last(browser: Any) -> None:
    """The card of a room that was last heard long ago says on which day, and an order by value does not begin with
    it."""
    (last,) = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
        f'.card[href="#/room/{GONE}"] .facts div:nth-child(3) dd',
    )
    assert any(str(datetime.now().year - n) in last for n in (1, 2))
    assert sort(browser, "value")[-1] == "lab / gone"
    sort(browser, "name")


def test_the_table_has_every_window(browser: Any, page: World) -> None:
    """The table is as long as what is drawn, and is another one when the range is."""
    open_room(browser, page, MANY)
    one(browser, ".table summary").click()
    press(browser, "8 h")
    wait_for(lambda: len(every(browser, ".table tbody tr")) >= 450)
    press(browser, "1 h")
    wait_for(lambda: len(every(browser, ".table tbody tr")) < 70)


SLOW_YEAR = """
const real = window.fetch;
window.fetch = (asked, ...more) => {
  const [, from, to] = String(asked).match(/from=(\\d+)&to=(\\d+)/) ?? [];
  const late = () => new Promise((_, fail) => setTimeout(() => fail(new Error("late")), 700));
  return to - from > 300 * 864e5 ? late() : real(asked, ...more);
};
"""


def test_an_older_failure_does_not_hide_what_is_shown(browser: Any, page: World) -> None:
    """A request that fails after a later one has been answered leaves the page as it is."""
    open_room(browser, page, STEP)
    browser.execute_script(SLOW_YEAR)
    press(browser, "Year")
    press(browser, "1 h")
    browser.execute_async_script("setTimeout(arguments[0], 1500)")
    assert "Could not load" not in text(browser, ".readout")


@pytest.mark.parametrize("address", ["#/room/%/x/y", "#/%E0%A4%A", "#/nothing/at/all"])
def test_an_address_that_means_nothing_shows_the_rooms(browser: Any, page: World, address: str) -> None:
    """Whatever stands behind the #, the page is never blank."""
    browser.get("about:blank")
    browser.get(f"{page.url}/{address}")
    wait_for(lambda: len(every(browser, ".card")) == 9)


def test_the_export_links_say_where_they_lead(browser: Any, page: World) -> None:
    """Once a room is drawn its export links are links to the range shown, for every way to follow a link; the file is
    named after the room."""
    open_room(browser, page, STEP)
    link = browser.find_element("xpath", "//a[.='CSV']")
    assert "/export.csv?site=lab&room=step&agent=dev&from=" in link.get_attribute("href")
    assert link.get_attribute("download") == "lab-step-dev.csv"


def test_keys_go_on_where_the_reader_was(browser: Any) -> None:
    """A new view has the focus, so that Tab begins there; Back leads to the card that was left, where it was."""
    phone = {"width": 390, "height": 500, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    href = f"#/room/{OTHER}"
    browser.execute_script(
        "const c = document.querySelector(arguments[0]); c.focus(); c.click()", f'.card[href="{href}"]'
    )
    wait_for(lambda: every(browser, ".plot"))
    focused = "return document.activeElement.id || document.activeElement.getAttribute('href')"
    assert (browser.execute_script(focused), browser.execute_script("return scrollY")) == ("main", 0)
    browser.back()
    wait_for(lambda: browser.execute_script(focused) == href)
    assert browser.execute_script("return scrollY") > 200


@pytest.mark.parametrize("width", [360, 390])
def test_the_longest_name_fits_a_phone(browser: Any, page: World, width: int) -> None:
    """A room name of 64 characters makes no view wider than the screen; nor does an interval beyond the scale."""
    phone = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    wide = """
        const ends = [...document.querySelectorAll(".card, h1, .state")].map((e) => e.getBoundingClientRect().right);
        return Math.max(document.documentElement.scrollWidth, ...ends);
    """
    assert browser.execute_script(wide) <= width
    open_room(browser, page, f"lab/{LONG}/{LONG}")
    assert browser.execute_script(wide) <= width
    open_room(browser, page, WIDE)
    assert browser.execute_script(wide) <= width
