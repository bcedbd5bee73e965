"""The page's server: who gets in, what it answers, what it never says."""

import csv
import http.client
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from starlette.requests import HTTPConnection

from deploy.collector.access import Door, read_token
from deploy.collector.bench.lessons import free_port, window_of
from deploy.collector.bench.scratch_postgres import scratch_postgres
from deploy.collector.database import open_database
from deploy.collector.hub import Hub
from tests.deploy.conftest import control_postgres, wait_for
from tests.deploy.page_world import TOKEN, World, now_ms, room_path, world

ROOM, OTHER = 3, 4
CLOSED = ("/", "/api/rooms", "/api/live", "/api/stats", f"/api/rooms/{room_path(ROOM)}/series", "/export.csv")


@pytest.fixture(scope="module")
def page(mosquitto: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A collector that has heard two rooms for ten minutes."""
    with world(tmp_path_factory.mktemp("collector")) as found:
        for room in (ROOM, OTHER):
            found.history(room, 10, suppressed=range(2, 4))
        yield found


def asking(name: bytes, value: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(name, value.encode())]})


def log_in(page: World, token: str) -> tuple[int, str, str]:
    """Return status, where it leads, and the cookie."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = page.get("/login", token=None, method="POST", body=urlencode({"token": token}), headers=form)
    return status, headers["location"], headers["set-cookie"] or ""


@pytest.mark.parametrize("path", CLOSED)
def test_nothing_is_open(page: World, path: str) -> None:
    """Without a token there is the form and nothing else."""
    status, headers, body = page.get(path, token=None)
    assert (status, headers["location"]) == ((303, "/login") if path == "/" else (401, None))
    assert b"room" not in body


@pytest.mark.parametrize("credentials", ["wrong" * 5, "", TOKEN[:-1], TOKEN + "x", "\u00e9" * 20])
def test_wrong_bearer_is_refused(page: World, credentials: str) -> None:
    """Only the whole token opens the API."""
    headers = {"Authorization": f"Bearer {credentials}".encode()}
    assert page.get("/api/rooms", token=None, headers=headers)[0] == 401


@pytest.mark.parametrize(
    "cookie", ["9999999999.00", "9999999999." + "0" * 64, "x.y", ".", "1.1", "\u0661.1", "9" * 5000]
)
def test_forged_cookie_is_refused(page: World, cookie: str) -> None:
    """A cookie that we did not sign opens nothing."""
    headers = {"Cookie": f"fer_session={cookie}".encode()}
    assert page.get("/api/rooms", token=None, headers=headers)[0] == 401


def test_cookie_of_a_login_opens(page: World) -> None:
    """A login gives a cookie that scripts cannot read and other sites cannot send, and it opens the API."""
    status, where, cookie = log_in(page, TOKEN)
    assert (status, where) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert page.get("/api/rooms", token=None, headers={"Cookie": cookie.partition(";")[0]})[0] == 200


def test_expired_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie ends with its twelve hours."""
    door = Door(TOKEN)
    cookie = door.open(TOKEN)
    asked = asking(b"cookie", f"fer_session={cookie}")
    assert door.knows(asked)
    later = time.time() + 12 * 3600 + 1
    monkeypatch.setattr("deploy.collector.access.time.time", lambda: later)
    assert not door.knows(asked)


def test_guessing_is_slowed_down() -> None:
    """After ten wrong tokens the door stays shut, even for the right one."""
    door = Door(TOKEN)
    for n in range(10):
        assert door.open(f"guess-{n}") is None
    with pytest.raises(PermissionError):
        door.open(TOKEN)


def test_guessing_by_bearer_is_slowed_down() -> None:
    """Wrong tokens in the header count with those of the form: after ten of both none opens, whichever way it comes.
    Who had logged in before stays in."""
    door = Door(TOKEN)
    cookie = door.open(TOKEN)
    assert door.open("guess") is None
    assert door.knows(asking(b"authorization", f"Bearer {TOKEN}"))
    for n in range(9):
        assert not door.knows(asking(b"authorization", f"Bearer guess-{n}"))
    assert not door.knows(asking(b"authorization", f"Bearer {TOKEN}"))
    with pytest.raises(PermissionError):
        door.open(TOKEN)
    assert door.knows(asking(b"cookie", f"fer_session={cookie}"))


def test_an_old_token_that_is_repeated_keeps_nobody_out() -> None:
    """A monitor that asks with yesterday's token for ever is refused for ever, and nobody else is."""
    door = Door(TOKEN)
    for _ in range(50):
        assert not door.knows(asking(b"authorization", "Bearer the token of yesterday"))
    assert door.open(TOKEN)


def test_token_file_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    """A missing token file is made with a token nobody guesses, readable by its owner only."""
    file = tmp_path / "made" / "token"
    token = read_token(file)
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_token(file) == token
    file.write_text(f"{token}\r\n", encoding="utf-8-sig")  # as Windows' Notepad may write it
    assert read_token(file) == token


def test_token_file_that_a_power_cut_left_empty_is_made_anew(tmp_path: Path) -> None:
    """An empty token file locks nobody out for ever, and nothing else is left beside the new one."""
    file = tmp_path / "token"
    file.write_text("\n")
    assert len(read_token(file)) >= 32
    assert (file.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [file])


@pytest.mark.parametrize("path", [*CLOSED, "/login", "/static/app.js", "/healthz", "/nothing", "/static/../access.py"])
def test_every_answer_has_the_headers(page: World, path: str) -> None:
    """Whatever is asked, the answer lets a browser run only our own files, in no frame, with no referrer."""
    connection = http.client.HTTPConnection("127.0.0.1", page.page, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert (answer.headers["x-frame-options"], answer.headers["referrer-policy"]) == ("DENY", "no-referrer")
    assert answer.headers["server"] is None
    connection.close()


def test_pages_hold_no_inline_code() -> None:
    """No HTML file of ours has a script, a handler or a style inside."""
    import re

    import deploy.collector.web as web

    pages = list(web.STATIC.glob("*.html"))
    assert pages
    for file in pages:
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", file.read_text()) == []


@pytest.mark.parametrize("path", ["/static/../access.py", "/static/..%2faccess.py", "/static//etc/passwd"])
def test_only_static_files_are_served(page: World, path: str) -> None:
    """No path leads out of the folder of static files."""
    assert page.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_read_only(page: World, method: str) -> None:
    """Nothing can be changed through the page, even with the token."""
    for path in ("/api/rooms", f"/api/rooms/{room_path(ROOM)}/series", "/export.csv"):
        assert page.get(path, method=method)[0] == 405


@pytest.mark.parametrize("query", ["from=x", "from=1&to=0", "from=-5&to=5", "from=0&to=99999999999999", "to=1e3"])
def test_senseless_range_is_an_error(page: World, query: str) -> None:
    """A range that makes no sense is answered in one line that says what was expected."""
    status, _, body = page.get(f"/api/rooms/{room_path(ROOM)}/series?{query}")
    assert status == 400
    assert "expected" in json.loads(body)["error"]
    assert "invalid literal" not in json.loads(body)["error"]


@pytest.mark.parametrize("room", ["a/b/c", "'%20OR%201=1--/b/c", "%3Cscript%3E/b/c", "a/b/" + "c" * 300])
def test_unknown_room_is_not_found(page: World, room: str) -> None:
    """A room that nobody is, or that cannot be, is not found."""
    status, _, body = page.get(f"/api/rooms/{room}/series")
    assert (status, json.loads(body)) == (404, {"error": "no such room"})


def test_series_marks_what_was_suppressed(page: World) -> None:
    """Suppressed windows are in the series, with their reason and without a value."""
    found = page.json(f"/api/rooms/{room_path(ROOM)}/series")
    assert found["suppressed"].count("k_min") == 2
    pairs = zip(found["suppressed"], found["engagement"], strict=True)
    assert all((why is None) == (value is not None) for why, value in pairs)


def test_events_are_streamed(page: World) -> None:
    """An open stream hears of a window that comes, within seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", page.page, timeout=20)
    connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {TOKEN}"})
    stream = connection.getresponse()
    assert stream.headers["content-type"].startswith("text/event-stream")
    page.publish(OTHER, "window", window_of(OTHER, 11, now_ms()))
    wait_for(lambda: (line := stream.readline()).startswith(b"data: [") and b'"seq":11' in line, 20)
    connection.close()


def test_csv_export(page: World) -> None:
    """The CSV of one room has a row a window, with a header."""
    site, room, agent = room_path(ROOM).split("/")
    query = urlencode({"site": site, "room": room, "agent": agent})
    status, headers, body = page.get(f"/export.csv?{query}")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert (status, len(rows), {row["agent"] for row in rows}) == (200, 10, {agent})
    assert headers["content-disposition"] == f'attachment; filename="{site}-{room}-{agent}.csv"'
    assert sum(row["suppressed"] == "k_min" for row in rows) == 2


def test_parquet_export(page: World) -> None:
    """The Parquet of all rooms has a row a window, nulls where there was no result, and the caveat with it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    status, headers, body = page.get("/export.parquet")
    assert headers["content-disposition"] == 'attachment; filename="windows.parquet"'
    table = parquet.read_table(io.BytesIO(body))
    assert (status, len(set(table["agent"].to_pylist()))) == (200, 2)
    assert table["engagement"].null_count == 4
    assert b"not validated" in table.schema.metadata[b"caveat"]


def test_sigterm_ends_it_in_order(tmp_path: Path, broker_port: int) -> None:
    """SIGTERM ends page and collector with exit code 0, after the last batch."""
    (tmp_path / "token").write_text(TOKEN)
    port = str(free_port())
    options = ["--port", str(broker_port), "--db", f"sqlite:///{tmp_path}/w.db", "--listen", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "deploy.collector", "run", *options, "--token-file", str(tmp_path / "token")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    wait_for(lambda: "event=page.serving" in (tmp_path / "log").read_text(), 30)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    said = (tmp_path / "log").read_text()
    assert "event=collector.stopped" in said
    assert TOKEN not in said


def test_taken_port_is_one_line(tmp_path: Path, page: World) -> None:
    """A port that somebody else has is one line and exit code 69."""
    options = ["--db", page.db, "--listen", f"127.0.0.1:{page.page}", "--token-file", str(tmp_path / "token")]
    command = [sys.executable, "-m", "deploy.collector", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 69
    assert done.stderr.splitlines()[-1].startswith("error: page: cannot listen on 127.0.0.1:")


@pytest.mark.usefixtures("mosquitto", "postgres")
def test_database_that_is_away_is_said(tmp_path: Path) -> None:
    """While PostgreSQL is down the page answers 503 in one line, still shows what it knew, and comes back by itself."""
    with scratch_postgres() as url, world(tmp_path, url) as found:
        found.history(ROOM, 2)
        control_postgres(url, "stop", "-m", "immediate")
        wait_for(lambda: found.get("/healthz", token=None)[0] == 503, 30)
        status, _, body = found.get(f"/api/rooms/{room_path(ROOM)}/series")
        assert (status, json.loads(body)) == (503, {"error": "the database is away"})
        assert {found.get(f"/export.{kind}")[0] for kind in ("csv", "parquet")} == {503}
        assert len(found.json("/api/rooms")["rooms"]) == 1
        control_postgres(url, "start")
        wait_for(lambda: found.get("/healthz", token=None)[0] == 200, 30)
        assert found.json(f"/api/rooms/{room_path(ROOM)}/series")["seq"] == [1, 2]


def test_reader_needs_no_more_than_the_readme_grants(postgres_url: str) -> None:
    """The role of the README may serve the page, and may write nothing."""
    readme = Path(__file__).resolve().parents[2] / "deploy" / "collector" / "README.md"
    statements = readme.read_text().split("```sql")[1].split("```")[0].split(";")
    role = f"reader_{now_ms()}"
    engine = open_database(postgres_url)
    with engine.begin() as connection:
        for statement in filter(str.strip, statements):
            connection.execute(text(statement.replace("reader", role)))
    engine.dispose()
    engine = open_database(postgres_url.replace("//fer@", f"//{role}@"), read_only=True)
    assert Hub(engine).newest() == ({}, [])
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ WRITE"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("DELETE FROM windows"))
    engine.dispose()
