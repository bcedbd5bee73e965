"""A disk that is really full: a small tmpfs under the database. Needs the right to mount."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.collector.database import open_database
from tests.deploy.conftest import Room, administer, collecting, count, wait_for

Grow = Callable[[str], None]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Grow]:
    """Mount a tmpfs of that size at `folder`; yield what changes its size."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Grow]]:
    """A database of each kind on a disk of a few MB, and what makes the disk larger."""
    if request.param == "sqlite":
        with small_disk(tmp_path / "disk", "1m") as grow:
            engine = open_database(f"sqlite:///{tmp_path}/disk/windows.db")
            yield engine, grow
            engine.dispose()
        return
    # PostgreSQL panics when its log has no room; its tables may lie elsewhere, and that disk may fill.
    server: str = request.getfixturevalue("postgres_server")
    home = Path(server.rpartition("=")[2])
    with small_disk(home / "disk", "2m") as grow:
        subprocess.run(["chown", f"{home.owner()}:", home / "disk"], check=True)
        administer(server, f"CREATE TABLESPACE small LOCATION '{home}/disk'")
        administer(server, "CREATE DATABASE small")
        administer(server, "ALTER DATABASE small SET default_tablespace = small")
        engine = open_database(server.replace("/postgres?", "/small?"))
        yield engine, grow
        engine.dispose()
        administer(server, "DROP DATABASE small WITH (FORCE)")
        administer(server, "DROP TABLESPACE small")


def test_full_disk_loses_nothing(broker_port: int, small: tuple[Engine, Grow]) -> None:
    """While the disk is full nothing more is acknowledged; with room again every window is there, once."""
    engine, grow = small
    room, sent = Room(broker_port), 0
    with collecting(broker_port, engine) as tally:
        while not tally.snapshot().get("database_errors"):
            room.send(*range(sent + 1, sent + 201))
            sent += 200
            assert sent < 40_000, "the disk never filled"
        time.sleep(1.5)
        stuck = room.acked
        assert stuck < sent
        time.sleep(2.5)
        assert room.acked == stuck
        grow("300m")
        wait_for(lambda: room.acked == sent, 90)
    assert count(engine) == sent
    room.close()
