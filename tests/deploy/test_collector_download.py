"""Exports over the page that are slow, many, or met by a database that goes away."""

import asyncio
import http.client
import json
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from starlette.responses import Response

from deploy.collector import download
from deploy.collector.database import open_database
from deploy.collector.history import Span
from tests.deploy.conftest import NOW_MS, failing
from tests.deploy.page_world import TOKEN, World, room_path, world

ROOM, MANY = 3, 20_000
SPAN = f"from={NOW_MS}&to={NOW_MS + MANY + 1}"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector whose one room has more windows than fit into the buffers of a connection."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        found.history(ROOM, 1)
        engine = open_database(found.db)
        copy = (
            "INSERT INTO windows SELECT {} FROM windows, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            f"SELECT i + 1 FROM n WHERE i < {MANY}) SELECT i FROM n)"
        )
        with engine.begin() as connection:
            names = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(windows)")]
            values = ", ".join({"seq": "seq + i", "end_ms": f"{NOW_MS} + i"}.get(name, name) for name in names)
            connection.exec_driver_sql(copy.format(values))
        engine.dispose()
        yield found


@contextmanager
def unread(page: World) -> Iterator[http.client.HTTPResponse]:
    """A CSV of all windows that has begun to come, and whose rest nobody reads."""
    connection = http.client.HTTPConnection("127.0.0.1", page.page, timeout=60)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what is not read stays with the server
    connection.sock.connect(("127.0.0.1", page.page))
    connection.request("GET", f"/export.csv?{SPAN}", headers=HEADERS)
    answer = connection.getresponse()
    assert answer.read(10) == b"site,room,"
    yield answer
    connection.close()


def test_slow_readers_hold_no_connection_of_the_database(page: World) -> None:
    """With more exports begun and not read than the database has connections the page answers as ever, and SQLite's log
    of changes can be written back as a whole."""
    with ExitStack() as stack:
        answers = [stack.enter_context(unread(page)) for _ in range(15)]
        assert page.get(f"/api/rooms/{room_path(ROOM)}/series")[0] == 200
        with closing(sqlite3.connect(page.db.removeprefix("sqlite:///"), timeout=10)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert answers[-1].read().count(b"\n") == MANY + 1


def answers(engine: Engine, count: int, kind: str = "csv") -> list[Response]:
    """What so many get who ask at one time for all windows."""

    async def ask() -> list[Response]:
        downloads = download.Downloads(engine)
        everything = Span(0, NOW_MS)
        return list(await asyncio.gather(*(downloads.answer(kind, everything, None, None) for _ in range(count))))

    return asyncio.run(ask())


@pytest.mark.parametrize(("patience_s", "statuses"), [(30.0, [200, 200, 200]), (0.3, [200, 200, 503])])
def test_two_exports_are_written_at_once(
    sqlite_url: str, patience_s: float, statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third waits for its turn; if that does not come in time it is told to come again."""
    engine = open_database(sqlite_url)
    event.listen(engine, "before_cursor_execute", lambda *_: time.sleep(1.0))
    monkeypatch.setattr(download, "PATIENCE_S", patience_s)
    found = answers(engine, 3)
    assert [answer.status_code for answer in found] == statuses
    assert [answer.headers.get("retry-after") for answer in found] == ["60" if s == 503 else None for s in statuses]
    engine.dispose()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failed_export_is_no_half_file(sqlite_url: str, kind: str) -> None:
    """A database that goes away is an error before anything is sent, and the turn goes to the next."""
    pytest.importorskip("pyarrow")
    engine = open_database(sqlite_url)
    for _ in range(download.AT_ONCE + 1):
        with failing(engine, "FROM windows", 1), pytest.raises(OperationalError):
            answers(engine, 1, kind)
    assert [answer.status_code for answer in answers(engine, 1, kind)] == [200]
    engine.dispose()


def test_a_full_disk_is_said(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written the answer says so."""
    engine = open_database(sqlite_url)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    (found,) = answers(engine, 1)
    assert found.status_code == 503
    assert "no room to write the export" in json.loads(bytes(found.body))["error"]
    engine.dispose()
