"""The login over the wire: what a proxy says of it, and who hangs up in the middle of it."""

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.deploy.page_world import TOKEN, served


@pytest.fixture
def port(tmp_path: Path, sqlite_url: str) -> Iterator[int]:
    """Where the page of an empty database is served; it writes into the file `log`."""
    with served(tmp_path, sqlite_url) as port:
        yield port


@pytest.mark.parametrize(("how", "secure"), [("https", True), ("http", False)])
def test_a_cookie_that_came_encrypted_goes_back_so_alone(port: int, how: str, secure: bool) -> None:
    """Where a TLS proxy on this machine passes the login on, the browser never sends the cookie in clear; where there
    is no TLS it has to."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/login", urlencode({"token": TOKEN}), {"X-Forwarded-Proto": how})
    cookie = connection.getresponse().headers["set-cookie"]
    assert ("Secure" in cookie.split("; ")) == secure
    connection.close()


def test_half_a_login_leaves_the_log_as_it_is(port: int, tmp_path: Path) -> None:
    """Whoever hangs up in the middle of a login, which needs no token, writes nothing into the log."""
    before = (tmp_path / "log").read_text()
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken=")
        time.sleep(0.5)
    time.sleep(1)
    assert (tmp_path / "log").read_text() == before
