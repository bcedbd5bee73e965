"""Two collectors share the windows; one is killed; nothing is lost or doubled."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from deploy.collector.bench.lessons import topic_of
from deploy.collector.database import open_database
from deploy.collector.messages import parse_message
from deploy.collector.store import Store
from tests.deploy.conftest import NOW_MS, Room, count, wait_for, window

ROOMS, WINDOWS = 4, 120


@contextmanager
def member(port: int, url: str, name: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--port", str(port), "--db", url, "--name", name, "--share", "school", "--no-page"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "deploy.collector", "run", *options], stderr=file)
        try:
            wait_for(lambda: b"event=broker.subscribed" in log.read_bytes())
            yield process
        finally:
            process.kill()
            process.wait()


def test_killed_member_loses_and_doubles_nothing(broker_port: int, postgres_url: str, tmp_path: Path) -> None:
    """With one of two members killed by SIGKILL in the middle, every window is one row, and all is acknowledged."""
    engine = open_database(postgres_url)
    rooms = [Room(broker_port, number) for number in range(100, 100 + ROOMS)]
    mine = f"SELECT count(*) FROM windows JOIN agents ON agents.id = agent_id WHERE agent IN {names(rooms)}"
    first_member = member(broker_port, postgres_url, "a", tmp_path / "a")
    with first_member as first, member(broker_port, postgres_url, "b", tmp_path / "b"):
        for seq in range(1, WINDOWS + 1):
            for room in rooms:
                room.send(seq)
            if seq == WINDOWS // 2:
                first.send_signal(signal.SIGKILL)
                first.wait()
        wait_for(lambda: all(room.acked == WINDOWS for room in rooms), 60)
    assert count(engine, mine) == ROOMS * WINDOWS
    for room in rooms:
        room.close()
    engine.dispose()


def names(rooms: list[Room]) -> str:
    return "(" + ", ".join(f"'fer-{room.number}'" for room in rooms) + ")"


def test_members_split_the_load(broker_port: int, postgres_url: str, tmp_path: Path) -> None:
    """Both of two members store a part of the windows, and together each window once."""
    engine = open_database(postgres_url)
    room = Room(broker_port, 150)
    logs = [tmp_path / "a", tmp_path / "b"]
    with member(broker_port, postgres_url, "a", logs[0]) as a, member(broker_port, postgres_url, "b", logs[1]) as b:
        room.send(*range(1, 61))
        wait_for(lambda: room.acked == 60, 30)
        for process in (a, b):
            process.terminate()
            process.wait(20)
    stored = [int(found[1]) for log in logs if (found := re.search(r"stored=(\d+)", log.read_text()))]
    assert sum(stored) == 60
    assert min(stored) >= 20
    room.close()
    engine.dispose()


def test_members_never_wait_for_each_other_in_a_ring(postgres_url: str) -> None:
    """Two members that each store windows of their own, and write the health of all rooms, end in no deadlock."""
    engine = open_database(postgres_url)
    health = [parse_message(topic_of(room, "health"), b'{"fps": 1.0}') for room in range(40)]

    def store(mine: int) -> None:
        member = Store(engine)
        for seq in range(1, 31):
            member.write([window(room, seq) for room in range(mine, 40, 2)] + health, NOW_MS)

    with ThreadPoolExecutor(2) as members:
        for done in [members.submit(store, mine) for mine in (0, 1)]:
            done.result()
    assert count(engine) == 40 * 30
    engine.dispose()
