"""A room of which much is missing or withheld, in a real browser: the week says so, and so do line and card. And a
connection that dies without a word."""

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.collector.bench.lessons import free_port, running_broker, suppressed_window, topic_of, window_of
from deploy.collector.database import open_database
from deploy.collector.messages import Message, parse_message
from deploy.collector.rollup import refresh_hours
from deploy.collector.store import Store
from tests.deploy.browser import card, every, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import MINUTE, TOKEN, World, collector, now_ms, room_path, world

OUTAGE, FEW, TRENDY = range(80, 83)
"""Of one week: 15 of every 20 minutes are missing; 15 of every 20 have too few people. Of an hour: a hole."""
WEEK = 7 * 24 * 60


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has three rooms."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        engine = open_database(found.db)
        for messages in (outage(), few(), trendy()):
            Store(engine).write(messages, now_ms())
        refresh_hours(engine)
        engine.dispose()
        wait_for(lambda: len(found.json("/api/rooms")["rooms"]) == 3)
        yield found


def outage() -> list[Message]:
    """Windows of a minute in the first 5 of every 20 minutes."""
    end = now_ms()
    seen = [n for n in range(1, WEEK + 1) if (n - 1) % 20 < 5]
    bodies = [window_of(OUTAGE, n, end - (WEEK - n) * MINUTE) for n in seen]
    return [parse_message(topic_of(OUTAGE), body) for body in bodies]


def few() -> list[Message]:
    """Windows of five minutes; three of four have no result, and say nothing of coverage. The last is such a one."""
    end, length = now_ms(), 5 * MINUTE
    bodies = []
    for n in range(1, WEEK // 5 + 1):
        make = window_of if n % 4 == 1 else suppressed_window
        more = {"seats": 20, "coverage": 0.9} if n % 4 == 1 else {"coverage": 0.0}
        bodies.append(make(FEW, n, end - (WEEK // 5 - n) * length, length_ms=length, **more))
    return [parse_message(topic_of(FEW), body) for body in bodies]


def trendy() -> list[Message]:
    """Ten windows, half an hour without any, ten windows."""
    ends = [now_ms() - back * MINUTE for back in range(50) if not 10 <= back < 40]
    bodies = [window_of(TRENDY, n, end) for n, end in enumerate(reversed(ends), 1)]
    return [parse_message(topic_of(TRENDY), body) for body in bodies]


@pytest.fixture
def browser(chrome: Any, page: World) -> Any:
    """The browser, looking at all rooms."""
    chrome.get("about:blank")
    chrome.get(f"{page.url}/login#{TOKEN}")
    wait_for(lambda: len(every(chrome, ".card")) == 3)
    return chrome


SHAPE = """
const [path, days, done] = arguments;
const to = Date.now() + 1;
Promise.all([import("/static/shape.js"), fetch(`/api/rooms/${path}/series?from=${to - days * 86400000}&to=${to}`)])
  .then(async ([{ amount, shape }, answer]) => {
    const series = await answer.json();
    const shaped = shape(series, to);
    const { t, drawn } = shaped;
    const line = t.reduce((ms, at, i) => ms + (i && drawn[i] && drawn[i - 1] ? at - t[i - 1] : 0), 0);
    const share = (ms) => ms / (days * 86400000);
    done({ step: series.step, from: series.from, to: series.to, t, ends: [...shaped.holes, ...shaped.suppressed],
      line: share(line), holes: share(amount(shaped.holes)), suppressed: share(amount(shaped.suppressed)) });
  });
"""
"""What the page makes of so many days of a room: how much of that is a line, a hole, without a result."""


def shape(chrome: Any, room: int, days: float) -> dict[str, Any]:
    return dict(chrome.execute_async_script(SHAPE, room_path(room), days))


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (OUTAGE, ("No data (no window arrived): 5 days", "No result (suppressed): none")),
        (FEW, ("No data (no window arrived): none", "No result (suppressed: too few people for a result): 5 days")),
    ],
)
def test_a_week_says_how_much_of_it_is_missing(browser: Any, page: World, room: int, words: tuple[str, str]) -> None:
    """Three quarters of each bucket of the week: the page says 5 days, not none, and why."""
    open_room(browser, page, room)
    browser.find_element("xpath", "//button[.='Week']").click()
    wait_for(lambda: words[0] in text(browser, ".key") and words[1] in text(browser, ".key"))


@pytest.mark.parametrize("days", [1, 7, 365])
@pytest.mark.parametrize("room", [OUTAGE, FEW])
def test_no_line_where_no_result_is(browser: Any, room: int, days: int) -> None:
    """Whatever the range, lines are as long as the time with results, and the hatching as the rest; nothing is outside
    of the range, or goes back in time."""
    found = shape(browser, room, days)
    known = min(days, 7) / days
    missing = 1 - known + (0.75 * known if room == OUTAGE else 0)
    # Single windows are points at their ends: a line through five of them is four long.
    assert 0.19 * known < found["line"] < 0.26 * known
    assert found["holes"] == pytest.approx(missing, abs=0.01)
    assert found["suppressed"] == pytest.approx(0.75 * known if room == FEW else 0, abs=0.01)
    assert found["t"] == sorted(found["t"])
    moments = [*found["t"], *(at for stretch in found["ends"] for at in stretch[:2])]
    assert found["from"] <= min(moments) <= max(moments) <= found["to"]


INKED = """
const canvas = document.querySelector("[data-panel=engagement] canvas");
const over = document.querySelector("[data-panel=engagement] .u-over").getBoundingClientRect();
const all = canvas.getBoundingClientRect();
const [x, y, w, h] = [over.left - all.left, over.top - all.top + 40, over.width, over.height - 40] // a word is above
  .map((v) => Math.floor(v * canvas.width / all.width));
const { data } = canvas.getContext("2d").getImageData(x, y, w, h);
const ink = (at) => Math.min(1, Math.max(0, (195 - data[at]) / (195 - 15))); // red: of the hatching, of the line
let sum = 0;
for (let column = 0; column < w; column++) {
  let most = 0;
  for (let row = 0; row < h; row++) most = Math.max(most, ink(4 * (row * w + column)));
  sum += most;
}
return sum / w;
"""
"""Ink of the index's line in a chart, as a share of what an unbroken one has; in the light theme."""


@pytest.mark.parametrize("room", [OUTAGE, FEW])
def test_the_line_is_seen_to_be_broken(browser: Any, page: World, room: int) -> None:
    """The line of a week that is three quarters missing is there, and does not run through."""
    open_room(browser, page, room)
    browser.find_element("xpath", "//button[.='Week']").click()
    wait_for(lambda: "5 days" in text(browser, ".key"))
    assert 0.1 < browser.execute_script(INKED) < 0.4


def test_withheld_is_not_zero(browser: Any, page: World) -> None:
    """The means of a week are those of what was published, on the card a withheld coverage is no number, and the order
    by coverage does not begin with it."""
    week = page.json(f"/api/rooms/{room_path(FEW)}/series?from={now_ms() - WEEK * MINUTE}&to={now_ms()}")
    assert set(week["coverage"]) - {None} == {0.9}
    facts = "return [...document.querySelectorAll(`${arguments[0]} .facts dd`)].slice(0, 2).map((e) => e.textContent)"
    assert browser.execute_script(facts, card(FEW)) == ["3", "–"]
    choice = "const s = document.querySelector('select'); s.value = 'coverage'; s.dispatchEvent(new Event('change'))"
    browser.execute_script(choice)
    assert every(browser, ".card")[-1].get_attribute("href").endswith(room_path(FEW))
    browser.execute_script(choice.replace("coverage", "name"))
    open_room(browser, page, FEW)
    wait_for(lambda: "too few people" in text(browser, ".present"))
    assert browser.execute_script(facts, ".present") == ["3", "–"]


def test_people_of_a_blind_camera_are_no_zero(page: World, browser: Any) -> None:
    """A window whose camera was black counted nobody: neither card nor chart say that nobody was there."""
    body = json.loads(suppressed_window(OUTAGE, WEEK + 1, now_ms(), "camera.black", coverage=0.0)) | {"seats": 0}
    page.publish(OUTAGE, "window", json.dumps(body).encode())
    facts = "return [...document.querySelectorAll(`${arguments[0]} .facts dd`)].slice(0, 2).map((e) => e.textContent)"
    wait_for(lambda: browser.execute_script(facts, card(OUTAGE)) == ["–", "–"])
    hour = page.json(f"/api/rooms/{room_path(OUTAGE)}/series?from={now_ms() - 5 * MINUTE}&to={now_ms()}")
    assert (hour["seats"][-1], hour["coverage"][-1], hour["suppressed"][-1]) == (None, None, "camera.black")


def test_the_trend_breaks_at_a_hole(browser: Any) -> None:
    """The small line of a card has two parts where windows are missing between them."""
    path = browser.execute_script(
        "return document.querySelector(arguments[0]).getAttribute('d')", f"{card(TRENDY)} path"
    )
    assert (path.count("M"), path.count("L")) == (2, 18)


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A process stands still for the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.usefixtures("mosquitto")
def test_a_connection_that_dies_silently_is_noticed(tmp_path: Path, chrome: Any) -> None:
    """A server that stands still says no goodbye: the page does not go on saying "Live" or call rooms silent, and goes
    on by itself when the server does. (It is in less of a hurry than this test.)"""
    impatient = "import('/static/live.js').then((live) => { live.patience.quiet = arguments[0]; })"
    with ExitStack() as stack:
        found = stack.enter_context(
            World(stack.enter_context(running_broker()), free_port(), f"sqlite:///{tmp_path}/w.db")
        )
        server = stack.enter_context(collector(found, tmp_path))
        found.publish(TRENDY, "meta", {"window_s": 1.0})
        found.publish(TRENDY, "window", window_of(TRENDY, 1, now_ms(), length_ms=1000))
        chrome.get(f"{found.url}/login#{TOKEN}")
        wait_for(lambda: every(chrome, ".card") and text(chrome, "#link") == "Live")
        with stopped(server):
            chrome.execute_script(impatient, 1500)
            wait_for(lambda: text(chrome, "#link") == "Recon\u00adnecting", 10)
            chrome.execute_script("const real = Date.now; Date.now = () => real() + 60000")
            wait_for(lambda: "1 unknown" in text(chrome, ".summary"), 10)
            chrome.execute_script(impatient, 35000)
        wait_for(lambda: text(chrome, "#link") == "Live", 60)


def test_the_sign_of_life_can_be_heard(page: World) -> None:
    """A page that nothing happens on gets an event, not a comment, at least every 20 s."""
    connection = http.client.HTTPConnection("127.0.0.1", page.page, timeout=20)
    connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {TOKEN}"})
    stream = connection.getresponse()
    wait_for(lambda: stream.readline() == b"event: tick\n", 40)
    connection.close()
