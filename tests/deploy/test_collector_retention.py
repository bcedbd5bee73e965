"""What `fer-collector run` does by itself: it deletes what is too old, and waits for a database that is not up yet."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.collector import service
from deploy.collector.bench.lessons import topic_of, window_of
from deploy.collector.database import open_database
from deploy.collector.messages import Message, parse_message
from deploy.collector.store import Store
from tests.deploy.conftest import Room, control_postgres, count, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
DAY_MS = 24 * 3_600_000


@contextmanager
def running(log: Path, db: str, *options: str) -> Iterator[Callable[[], str]]:
    """Run a collector without a page as a process; yield what gives all that it logged. It ends well by SIGTERM."""
    command = [sys.executable, "-m", "deploy.collector", "run", "--no-page", "--db", db, *options]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stderr=file)
    try:
        yield log.read_text
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def windows_since(days: float) -> list[Message]:
    """One window of room 1 each of the last `days` days, the newest an hour old, each with its day's number."""
    now = int(time.time() * 1000) - 3_600_000
    return [parse_message(topic_of(1), window_of(1, day + 1, now - day * DAY_MS)) for day in range(int(days))]


def test_a_running_collector_deletes_what_is_too_old(database_url: str, engine: Engine, tmp_path: Path) -> None:
    """`run --keep-days 2`: of five days the two newest stay, the rest goes without anybody asking."""
    Store(engine).write(windows_since(5), int(time.time() * 1000))
    with running(tmp_path / "log", database_url, "--keep-days", "2", "--port", str(free_port())) as log:
        wait_for(lambda: count(engine) == 2, 60)
        wait_for(lambda: "event=windows.pruned count=3" in log())
    assert count(engine, "SELECT count(*) FROM windows WHERE seq <= 2") == 2


class Hours:
    """A clock whose hours pass when the test says so, and which shows `now` meanwhile."""

    def __init__(self, now: float) -> None:
        self.now, self.slept, self.pass_one = now, 0, threading.Semaphore(0)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds == 3600
        self.slept += 1
        self.pass_one.acquire()


@pytest.mark.parametrize("trouble", ["no table", "no time"])
def test_one_failure_does_not_end_the_deleting(
    sqlite_url: str, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that refuses, or a flaw (here of a clock that shows no time): it is logged, and an hour later what is
    too old is deleted all the same."""
    engine, clock = open_database(sqlite_url), Hours(time.time())
    Store(engine).write(windows_since(3), int(time.time() * 1000))
    rename = "ALTER TABLE {} RENAME TO {}".format
    if trouble == "no table":
        with engine.begin() as connection:
            connection.exec_driver_sql(rename("stale_hours", "away"))
    else:
        clock.now = float("inf")
    monkeypatch.setattr(service, "time", clock)
    threading.Thread(target=service._prune_hourly, args=(engine, 1), daemon=True).start()
    wait_for(lambda: clock.slept == 1)
    assert (caplog.text.count("event=prune.failed"), count(engine)) == (1, 3)
    if trouble == "no table":
        with engine.begin() as connection:
            connection.exec_driver_sql(rename("away", "stale_hours"))
    clock.now = time.time()
    clock.pass_one.release()
    wait_for(lambda: count(engine) == 1)
    engine.dispose()


def test_a_database_that_is_not_up_yet_is_waited_for(
    postgres_server: str, postgres_url: str, broker_port: int, room: Room, tmp_path: Path
) -> None:
    """After a power cut the collector may be up first: it says once that PostgreSQL is away, then collects."""
    control_postgres(postgres_server, "stop", "-m", "immediate")
    try:
        with running(tmp_path / "log", postgres_url, "--port", str(broker_port)) as log:
            wait_for(lambda: "event=database.away" in log(), 60)
            time.sleep(5)  # more than two tries
            control_postgres(postgres_server, "start")
            wait_for(lambda: room.send(1) or room.acked == 1, 60)  # the first ones come before it has subscribed
            assert log().count("event=database.away") == 1
    finally:
        if not Path(postgres_server.rpartition("=")[2], "data", "postmaster.pid").exists():
            control_postgres(postgres_server, "start")
    engine = open_database(postgres_url)
    assert count(engine) == 1
    engine.dispose()
