"""The doctor of a device tries the broker of a collector: nothing of that shows on the page or stays in its store."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, Table, func, select

from agent.config import Identity, Mqtt, Settings
from agent.device.check_broker import broker as check
from agent.device.checks import run
from deploy.collector.bench.lessons import topic_of
from deploy.collector.database import open_database
from deploy.collector.tables import agents, live, streams
from tests.deploy.conftest import Room, collecting, wait_for


@pytest.mark.parametrize("heard", [False, True])
def test_a_doctor_leaves_no_room_behind(heard: bool, broker_port: int, tmp_path: Path) -> None:
    """Its will, and what it asks the broker, make no agent, no stream and no card, and are no refusals either; a room
    that is known stays what it was."""
    engine = open_database(f"sqlite:///{tmp_path}/windows.db")
    site, room, agent = topic_of(1).split("/")[2:5]
    device = Settings(agent=Identity(site=site, room=room, id=agent), mqtt=Mqtt(host="127.0.0.1", port=broker_port))
    with collecting(broker_port, engine) as tally:
        if heard:
            Room(broker_port, deaf=True).publish("status", {"state": "ready", "session": 7, "epoch": "1"}, retain=True)
            wait_for(lambda: _rows(engine, live))
        assert {f.verdict for f in run({"mqtt": lambda: check(device)})} == {"PASS"}
        Room(broker_port, 2).send(1)
        wait_for(lambda: _rows(engine, live) == 1 + heard)
    assert tally.refused() == 0
    assert [_rows(engine, table) for table in (agents, live, streams)] == [1 + heard] * 3
    with engine.connect() as connection:
        states = [status for (status,) in connection.execute(select(live.c.status)) if status]
    assert ["ready" in state for state in states] == [True] * heard
    engine.dispose()


def _rows(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()
