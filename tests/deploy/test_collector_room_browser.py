"""A room's page in a real browser: an export before anything is loaded, and charts for who does not see them."""

from collections.abc import Iterator
from typing import Any

import pytest

from agent.errors import UnavailableError
from tests.deploy.browser import active, every, log_in, one, open_room, text
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import TOKEN, World, room_path, world

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed")
ROOM = 50


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard one room."""
    try:
        with world(tmp_path_factory.mktemp("collector")) as found:
            found.history(ROOM, 10)
            yield found
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def browser(chrome: Any, page: World) -> Any:
    """The browser, logged in, looking at all rooms."""
    chrome.get(page.url + "/login")
    chrome.delete_all_cookies()
    chrome.get(page.url + "/login")
    log_in(chrome, TOKEN)
    wait_for(lambda: every(chrome, ".card"))
    chrome.get_log("browser")
    return chrome


STALL = """
const real = window.fetch;
window.fetch = (asked, ...more) => String(asked).includes("/series") ? new Promise(() => {}) : real(asked, ...more);
location.hash = arguments[0];
"""
"""Nothing of a room arrives."""


@pytest.mark.parametrize("word", ["CSV", "Parquet"])
def test_an_export_before_the_data_does_nothing(word: str, browser: Any) -> None:
    """While a room loads, its export link throws nothing and leads nowhere: not to the page itself as a file."""
    browser.execute_script(STALL, f"#/room/{room_path(ROOM)}")
    wait_for(lambda: every(browser, ".exports a"))
    browser.find_element("xpath", f"//a[.='{word}']").click()
    assert browser.find_element("xpath", f"//a[.='{word}']").get_attribute("href") is None
    assert browser.execute_script("return location.hash") == f"#/room/{room_path(ROOM)}"
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_an_export_leads_to_what_is_shown(browser: Any, page: World) -> None:
    """Once loaded, the link is that of the room and the range on the page."""
    open_room(browser, page, ROOM)
    browser.execute_script("document.addEventListener('click', (event) => event.preventDefault())")
    link = browser.find_element("xpath", "//a[.='CSV']")
    link.click()
    site, room, agent = room_path(ROOM).split("/")
    assert f"/export.csv?site={site}&room={room}&agent={agent}&from=" in link.get_attribute("href")


def test_charts_have_a_role_whose_keys_are_the_pages(browser: Any, page: World) -> None:
    """What takes the focus and arrow keys is announced as a chart with its name, by a role that a screen reader passes
    keys to; the keys say the window in a live region."""
    open_room(browser, page, ROOM)
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    charts = [n for n in tree if n.get("role", {}).get("value") == "application"]
    assert len(charts) == len(every(browser, ".plot")) == 4
    assert all("Arrow keys move from window to window." in chart["name"]["value"] for chart in charts)
    told = [p["value"]["value"] for c in charts for p in c["properties"] if p["name"] == "roledescription"]
    assert told == ["chart"] * 4
    browser.execute_script("document.querySelector('.plot').focus()")
    before = text(browser, ".readout")
    active(browser).send_keys(keys.Keys.ARROW_LEFT)
    wait_for(lambda: text(browser, ".readout") != before)
    assert one(browser, ".readout").get_attribute("role") == "status"


def test_a_login_leads_to_the_room_that_was_asked_for(browser: Any, page: World) -> None:
    """A room's address without a login, or with one that ran out, asks for the token, takes nothing for one, and leads
    to that room, also after a wrong token."""
    address = f"{page.url}/#/room/{room_path(ROOM)}"
    browser.delete_all_cookies()
    browser.get("about:blank")
    browser.get(address)
    assert text(browser, "#problem") == ""
    log_in(browser, "wrong")
    wait_for(lambda: text(browser, "#problem") == "That is not the token.")
    log_in(browser, TOKEN)
    wait_for(lambda: every(browser, ".plot .u-over") and text(browser, ".readout"))
    assert browser.current_url == address
    browser.delete_all_cookies()
    browser.find_element("xpath", "//button[.='Day']").click()
    wait_for(lambda: one(browser, "#token"))
    log_in(browser, TOKEN)
    wait_for(lambda: browser.current_url == address)


def test_what_keys_chose_stays_chosen(browser: Any, page: World) -> None:
    """While the charts go on with time, the moment that arrow keys chose is the one that is told, wherever it stands by
    now; once it has left the range nothing is chosen."""
    open_room(browser, page, ROOM)
    browser.find_element("xpath", "//button[.='1 h']").click()
    wait_for(lambda: one(browser, "button[data-ms='3600000'][aria-pressed=true]"))
    browser.execute_script("document.querySelector('.plot').focus()")
    for _ in range(4):
        active(browser).send_keys(keys.Keys.ARROW_LEFT)
    chosen, shown = text(browser, ".readout"), text(browser, ".shown")
    later = "const real = Date.now; Date.now = () => real() + 40 * 60000"
    browser.execute_script(later)
    wait_for(lambda: text(browser, ".shown") != shown)
    assert text(browser, ".readout") == chosen
    shown = text(browser, ".shown")
    browser.execute_script(later)
    wait_for(lambda: text(browser, ".shown") != shown)
    assert "No window in this range" in text(browser, ".readout")


COLOURS = """
const marks = [...document.querySelectorAll(".emotions i, .legend [data-ink=neutral], .swatch, .scale .band")];
const styles = marks.map((mark) => getComputedStyle(mark));
return styles.map((style) => [style.backgroundColor + style.backgroundImage, style.printColorAdjust]);
"""


def test_a_users_own_colours_and_paper_keep_what_colours_say(browser: Any, page: World) -> None:
    """With the high contrast of the system legends and bars keep the colours of the charts, and only the view that is
    shown is underlined; on paper their backgrounds are printed."""
    open_room(browser, page, ROOM)
    before = browser.execute_script(COLOURS)
    own = {"features": [{"name": "forced-colors", "value": "active"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", own)
    try:
        assert browser.execute_script(COLOURS) == before
        lines = "return [...document.querySelectorAll('nav a')].map((a) => getComputedStyle(a).borderBottomColor)"
        here, elsewhere = browser.execute_script(lines)
        assert here != elsewhere
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(before) > 8
    assert {adjust for _, adjust in before} == {"exact"}
