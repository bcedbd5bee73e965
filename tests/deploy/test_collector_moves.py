"""A device that was moved to another room: its agent, on its own spool, beside a collector."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from agent.config import Identity
from agent.delivery.publish import Publisher
from deploy.collector.history import History, Span
from deploy.collector.messages import Source
from deploy.collector.tables import agents, gaps, windows
from tests.deploy.conftest import collecting, wait_for
from tests.mqtt_world import FAST, MADE_BY, free_port, settings, summary


def publish(port: int, state: Path, room: str, count: int, *, heard: bool = True) -> None:
    """Run an agent in this room for so many windows; if anybody is to hear it, until all are acknowledged."""
    of = settings(port).model_copy(update={"agent": Identity(site="test", room=room, id="fer")})
    with Publisher(of, MADE_BY, pace=FAST, state_dir=state) as publisher:
        publisher.state("ready")
        for number in range(count):
            publisher(summary(number, at=time.monotonic()))
        if heard:
            wait_for(lambda: publisher.report()["spool"]["acknowledged"] == publisher.newest_seq, 60)


def test_a_device_that_moves_takes_nothing_along_and_loses_nothing(
    broker_port: int, engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged in the old room is not asked for, nor called lost, in the new one; what waited in the
    device comes late, and stays with the room in which it was made."""
    with collecting(broker_port, engine) as tally:
        publish(broker_port, tmp_path, "old", 3)
        publish(free_port(), tmp_path, "old", 2, heard=False)
        publish(broker_port, tmp_path, "new", 2)
    rooms = select(agents.c.room, windows.c.seq).join_from(windows, agents).order_by(windows.c.seq)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(rooms)]
        assert connection.execute(select(gaps)).all() == []
    assert found == [*(("old", seq) for seq in range(1, 6)), ("new", 6), ("new", 7)]
    new = History(engine).agent_id(Source("test", "new", "fer"))
    assert History(engine).happenings(new, Span(0, 2**53 - 1)) == {"events": [], "lost": []}
    assert "windows.lost" not in caplog.text
    assert tally.refused() == 0
