"""The page in a real browser: what a person sees, with a mouse, with keys alone, on a phone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.collector.bench.lessons import free_port, running_broker, window_of
from tests.deploy.browser import active, card, colours, every, log_in, one, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import TOKEN, World, collector, now_ms, world

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed")
GAPPY, QUIET, BUSY, HOSTILE, WATCHED = range(40, 45)
"""Rooms of one site. The first has a gap 20 to 49 minutes ago, and no result 70 to 89 minutes ago."""
HTML = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard five rooms."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        found.history(GAPPY, 120, without=range(20, 50), suppressed=range(70, 90))
        found.history(QUIET, 3, suppressed=range(3))
        for room in (BUSY, WATCHED):
            found.history(room, 3)
        model = {"id": HTML, "sha256": None, "backend": HTML}
        found.publish(HOSTILE, "window", window_of(HOSTILE, 1, now_ms(), model=model))
        found.publish(HOSTILE, "status", {"state": "degraded", "reason": HTML, "session": 1})
        found.publish(HOSTILE, "event", {"kind": HTML[:60], "reason": HTML, "at_ms": now_ms()})
        yield found


@pytest.fixture
def guest(chrome: Any, page: World) -> Iterator[Any]:
    """The browser, not logged in; its console must stay free of errors."""
    chrome.get(page.url + "/login")
    chrome.delete_all_cookies()
    chrome.execute_script("localStorage.clear()")
    chrome.get(page.url + "/login")
    chrome.get_log("browser")
    yield chrome
    said = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    assert [message for message in said if "getImageData" not in message] == []  # that is our own looking at pixels
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def browser(guest: Any) -> Any:
    """The browser, logged in, looking at all rooms."""
    log_in(guest, TOKEN)
    wait_for(lambda: one(guest, "#link[data-state=live]") and len(every(guest, ".card")) == 5)
    return guest


def test_wrong_token_is_refused(guest: Any) -> None:
    """A wrong token leads back to the form, which says so; no room is to be seen."""
    log_in(guest, "not-the-token-at-all")
    wait_for(lambda: "not the token" in text(guest, "#problem"))
    assert not every(guest, ".card")
    assert guest.get_cookies() == []


def test_login_through_the_address(guest: Any, page: World) -> None:
    """The address that the demo names logs in, and the token does not stay in it."""
    guest.get("about:blank")
    guest.get(f"{page.url}/login#{TOKEN}")
    wait_for(lambda: every(guest, ".card"))
    assert TOKEN not in guest.current_url


def test_all_rooms_are_shown(browser: Any) -> None:
    """Each room shows state, index with its interval, coverage, people and emotions; the page says what it is not."""
    words = text(browser, card(BUSY))
    assert all(word in words for word in ("room-3", "Live", "–", "Coverage", "%", "People"))
    assert "happiness" in one(browser, f"{card(BUSY)} .emotions").get_attribute("aria-label")
    assert "not validated as a measure of learning" in text(browser, ".caveat")


def test_live_update_arrives(browser: Any, page: World) -> None:
    """A new window changes its card without anybody doing anything."""
    engagement = {"value": 97, "ci95": [95, 99], "delta": 21.0, "weights_id": "w"}
    page.publish(WATCHED, "window", window_of(WATCHED, 50, now_ms(), engagement=engagement))
    wait_for(lambda: text(browser, f"{card(WATCHED)} .value b") == "97")
    assert "+21 to its baseline" in text(browser, card(WATCHED))


def test_suppressed_room_shows_no_number(browser: Any) -> None:
    """A room whose newest window is suppressed shows the reason in place of a number."""
    words = text(browser, card(QUIET))
    assert "No result" in words
    assert "too few people for a result" in words
    assert not every(browser, f"{card(QUIET)} .value")


def test_gap_is_drawn_as_a_gap(browser: Any, page: World) -> None:
    """Time without windows is hatched in its own colour, with no line through it; the page says how much it is."""
    open_room(browser, page, GAPPY)
    wait_for(lambda: colours(browser, 47, 23) == ["hole-wash"])
    assert colours(browser, 15, 5) == ["accent"]
    assert "No data (no window arrived): " in text(browser, ".key")
    assert "do not exist: the device's store was full" in text(browser, ".events")


def test_suppressed_stretch_is_drawn_as_such(browser: Any, page: World) -> None:
    """Windows without a result are hatched in another colour, with no line through them, and their reason is there."""
    open_room(browser, page, GAPPY)
    wait_for(lambda: colours(browser, 87, 73) == ["none-wash"])
    assert "No result (suppressed: too few people for a result): 20 min" in text(browser, ".key")


def test_table_says_the_same(browser: Any, page: World) -> None:
    """What the chart draws is there as a table, too, gaps and reasons included."""
    open_room(browser, page, GAPPY)
    one(browser, ".table summary").click()
    wait_for(lambda: every(browser, ".table tbody tr"))
    words = text(browser, ".table tbody")
    assert words.count("too few people for a result") == 20
    assert "no data" in words


def test_keys_alone_are_enough(browser: Any) -> None:
    """Tab reaches the skip link first; further keys find, open and read a room, and every stop shows its focus."""
    body = one(browser, "body")
    body.send_keys(keys.Keys.TAB)
    assert active(browser).get_attribute("class") == "skip"
    for _ in range(30):
        active(browser).send_keys(keys.Keys.TAB)
        style = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none"
        if active(browser).get_attribute("href") == one(browser, card(GAPPY)).get_attribute("href"):
            break
    active(browser).send_keys(keys.Keys.ENTER)
    wait_for(lambda: every(browser, ".plot .u-over") and text(browser, ".readout"))
    for _ in range(30):
        active(browser).send_keys(keys.Keys.TAB)
        if active(browser).get_attribute("data-panel"):
            break
    before = text(browser, ".readout")
    active(browser).send_keys(keys.Keys.ARROW_LEFT)
    wait_for(lambda: text(browser, ".readout") != before)
    for _ in range(30):
        active(browser).send_keys(keys.Keys.ARROW_LEFT)
        if "No data" in text(browser, ".readout"):
            break
    assert "No data" in text(browser, ".readout")


def test_hostile_text_stays_text(browser: Any, page: World) -> None:
    """HTML in names, reasons and events is shown letter by letter; nothing of it runs."""
    open_room(browser, page, HOSTILE)
    wait_for(lambda: HTML in text(browser, ".made"))
    assert HTML in text(browser, ".events")
    assert HTML in text(browser, ".state")
    assert not every(browser, "main img")
    assert browser.title == "room-4"


def test_inline_script_does_not_run(browser: Any) -> None:
    """Even a script that got into the page would not run: the policy allows only our own files."""
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = \"document.title = 'owned'\";"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"document.title=\\'owned\\'\" id=bait>x</p>');"
        "document.getElementById('bait').click()"
    )
    assert browser.title == "Rooms"
    blocked = [entry["message"] for entry in browser.get_log("browser")]
    assert len([message for message in blocked if "Content Security Policy" in message]) == 2


@pytest.mark.parametrize("view", ["", "room", "devices", "login"])
def test_fits_a_phone(browser: Any, page: World, view: str) -> None:
    """On a phone no view is wider than the screen, and what is to be touched is not tiny."""
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get(page.url + ("/login" if view == "login" else f"/#/{view}"))
    if view == "room":
        open_room(browser, page, GAPPY)
    time.sleep(0.5)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    heights = "return [...document.querySelectorAll('button, select, input:not([hidden])')].map((e) => e.offsetHeight)"
    assert min(browser.execute_script(heights)) >= 30


def test_theme_follows_the_system_and_the_button(browser: Any) -> None:
    """Dark and light come from the system; the button overrides it, and the choice outlives a reload."""

    def ground() -> int:
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    for scheme, dark in (("dark", True), ("light", False)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert (ground() < 200) == dark
    one(browser, "#theme").click()
    one(browser, "#theme").click()
    assert ground() < 200
    browser.refresh()
    wait_for(lambda: every(browser, ".card"))
    assert ground() < 200


def test_chart_zooms_and_moves(browser: Any, page: World) -> None:
    """Dragging over a chart shows that stretch; "Now" comes back to the present."""
    from selenium.webdriver.common.action_chains import ActionChains

    open_room(browser, page, GAPPY)
    over = one(browser, "[data-panel=engagement] .u-over")
    # Scrolled to by hand: a chain of actions does not.
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    ActionChains(browser).move_to_element_with_offset(over, 40, 20).click_and_hold().move_by_offset(
        200, 0
    ).release().perform()
    wait_for(lambda: one(browser, "[data-now]").get_attribute("aria-pressed") == "false")
    one(browser, "[data-now]").click()
    wait_for(lambda: one(browser, "[data-now]").get_attribute("aria-pressed") == "true")


def test_search_and_filter(browser: Any) -> None:
    """The search and the filter leave the rooms that fit."""
    one(browser, "input[type=search]").send_keys("room-3")
    wait_for(lambda: len(every(browser, ".card")) == 1)
    for _ in range(6):
        one(browser, "input[type=search]").send_keys(keys.Keys.BACKSPACE)
    browser.find_element("xpath", "//button[.='No result']").click()
    wait_for(lambda: [c.get_attribute("data-id") for c in every(browser, ".card")] == ["none"])
    browser.find_element("xpath", "//button[.='All']").click()


def test_logout_shuts_the_door(browser: Any, page: World) -> None:
    """After a logout the page leads to the form."""
    browser.find_element("xpath", "//button[.='Log out']").click()
    wait_for(lambda: every(browser, "#token"))
    browser.get(page.url + "/")
    assert browser.current_url.endswith("/login")


@pytest.mark.usefixtures("mosquitto")
def test_restart_is_survived(tmp_path: Path, chrome: Any) -> None:
    """When the collector comes back, an open page goes on by itself, with what was published meanwhile."""
    database = f"sqlite:///{tmp_path}/windows.db"
    with running_broker() as broker, World(broker, free_port(), database) as found:
        with collector(found, tmp_path):
            found.history(BUSY, 2)
            chrome.get(f"{found.url}/login#{TOKEN}")
            wait_for(lambda: one(chrome, "#link[data-state=live]") and one(chrome, card(BUSY)))
        wait_for(lambda: one(chrome, "#link[data-state=lost]"))
        engagement = {"value": 3, "ci95": [1, 5], "delta": None, "weights_id": "w"}
        found.publish(BUSY, "window", window_of(BUSY, 3, now_ms(), engagement=engagement))
        with collector(found, tmp_path):
            wait_for(lambda: text(chrome, f"{card(BUSY)} .value b") == "3", 30)
            assert one(chrome, "#link[data-state=live]")


def test_a_removed_room_leaves_an_open_page(tmp_path: Path, chrome: Any) -> None:
    """A room whose retained status is cleared goes from the page that shows it; the others stay."""
    with world(tmp_path) as found:
        for room in (BUSY, BUSY + 1):
            found.publish(room, "window", window_of(room, 1, now_ms()))
        chrome.get(f"{found.url}/login#{TOKEN}")
        wait_for(lambda: one(chrome, card(BUSY)) and one(chrome, card(BUSY + 1)))
        found.publish(BUSY, "status", b"")
        wait_for(lambda: not one(chrome, card(BUSY)))
        assert one(chrome, card(BUSY + 1))


def test_a_room_heard_while_all_are_loaded_stays(tmp_path: Path, chrome: Any) -> None:
    """An answer that was under way when a room was heard for the first time does not take it away again."""
    slow = """
        const real = window.fetch;
        window.fetch = async (...asked) => {
          const answer = await real(...asked);
          await new Promise((done) => setTimeout(done, 4000));
          return answer;
        };
        import("/static/live.js").then((live) => live.loadAll()).then(() => (document.body.dataset.loaded = "1"));
    """
    with world(tmp_path) as found:
        found.publish(BUSY, "window", window_of(BUSY, 1, now_ms()))
        chrome.get(f"{found.url}/login#{TOKEN}")
        wait_for(lambda: one(chrome, card(BUSY)))
        chrome.execute_script(slow)
        time.sleep(0.5)
        found.publish(BUSY + 1, "window", window_of(BUSY + 1, 1, now_ms()))
        wait_for(lambda: one(chrome, "body[data-loaded]"))
        time.sleep(0.5)
        assert one(chrome, card(BUSY + 1))
