"""Who connects to the page and then does nothing: no login is needed for that."""

import contextlib
import http.client
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.conftest import wait_for
from tests.deploy.page_world import TOKEN, served

MANY = 1200
"""More than the descriptors that the service manager gives."""


@pytest.fixture
def port(tmp_path: Path, sqlite_url: str) -> Iterator[int]:
    """Where the page of an empty database is served, with a service's descriptors; it writes into the file `log`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * MANY:
        pytest.skip(f"expected {2 * MANY} descriptors for this test, got {hard}; run: ulimit -Hn {2 * MANY}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MANY, hard))
    try:
        with served(tmp_path, sqlite_url, "sh", "-c", 'ulimit -n 1024; exec "$@"', "sh") as port:
            yield port
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


HALVES = {
    "headers": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "body": b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken=",
}


@pytest.mark.parametrize("half", HALVES)
def test_who_stands_still_goes(port: int, tmp_path: Path, half: str) -> None:
    """More of them than the process has descriptors write nothing into the log, and the page is there again for
    everybody, while they hold on."""
    before = (tmp_path / "log").read_text()
    with ExitStack() as stack:
        for _ in range(MANY):
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(ConnectionError):
                one.connect(("127.0.0.1", port))
                one.sendall(HALVES[half])
        wait_for(lambda: answers(port), 75)
        assert (tmp_path / "log").read_text() == before


def test_who_reads_events_stays(port: int) -> None:
    """A page that is open and quiet is no such connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as page:
        page.sendall(f"GET /api/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        heard = b""
        while heard.count(b"event: tick") < 3:  # one in 15 s
            part = page.recv(4096)
            assert part, heard
            heard += part
