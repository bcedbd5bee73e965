"""The login over the wire: what a proxy says of it, and who hangs up in the middle of it."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from deploy.collector.bench.lessons import free_port
from deploy.collector.database import open_database
from tests.deploy.conftest import wait_for
from tests.deploy.page_world import TOKEN


@pytest.fixture
def port(tmp_path: Path, sqlite_url: str) -> Iterator[int]:
    """Where the page of an empty database is served; it writes into the file `log`."""
    open_database(sqlite_url).dispose()
    (tmp_path / "token").write_text(TOKEN)
    port = free_port()
    options = ["--db", sqlite_url, "--listen", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "deploy.collector", "serve", *options], stderr=log)
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 30)
        yield port
    finally:
        process.terminate()
        process.wait(20)


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
