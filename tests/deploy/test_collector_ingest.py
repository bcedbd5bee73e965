"""The collector against a real broker: nothing is confirmed before it is stored, and every hole is mended."""

import json
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, event, text

from deploy.collector.bench.lessons import free_port, running_broker, topic_of, window_of
from deploy.collector.bench.scratch_postgres import scratch_postgres
from deploy.collector.broker import Address, Broker
from deploy.collector.database import open_database
from deploy.collector.messages import Gap, Message, Source
from deploy.collector.store import Store
from tests.deploy.conftest import NOW_MS, Room, collecting, control_postgres, count, wait_for
from tests.mqtt_world import Mosquitto


def test_stores_and_acknowledges(broker_port: int, engine: Engine, room: Room) -> None:
    """Windows are stored, and then the agent may forget them."""
    with collecting(broker_port, engine):
        room.send(1, 2, 3)
        wait_for(lambda: room.acked == 3)
    assert count(engine) == 3
    assert count(engine, "SELECT upto_seq FROM streams") == 3, "what is pruned later is no hole"


@pytest.mark.usefixtures("mosquitto")
def test_absent_broker_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is not there yet is one line in the log; when it comes, the collector is there by itself."""
    port = free_port()
    with caplog.at_level("INFO"), Broker(Address(port=port)) as broker:
        wait_for(lambda: "event=broker.away" in caplog.text)
        time.sleep(1.5)
        with running_broker(port):
            wait_for(lambda: broker.connected, 30)
    assert caplog.text.count("event=broker.away") == 1


def test_hole_is_asked_for_and_filled(broker_port: int, engine: Engine, room: Room) -> None:
    """A window that never came is asked for, comes late, and only then all is acknowledged."""
    with collecting(broker_port, engine):
        room.keep(3, 4)
        room.send(1, 2, 5)
        wait_for(lambda: room.acked == 5)
    assert room.asked == [(3, 4)]
    assert count(engine) == 5


def test_end_of_stream_is_asked_for(broker_port: int, engine: Engine, room: Room) -> None:
    """A last window that got lost is missed because the status names the newest number."""
    with collecting(broker_port, engine):
        room.send(1)
        room.keep(2)
        room.publish("status", {"state": "ready", "session": 1, "epoch": "1", "newest_seq": 2}, retain=True)
        wait_for(lambda: room.acked == 2)
    assert count(engine) == 2


def test_declared_gap_is_passed_over(broker_port: int, engine: Engine, room: Room) -> None:
    """What the agent declares lost is acknowledged without being asked for."""
    with collecting(broker_port, engine):
        room.publish("event", {"kind": "gap", "epoch": "1", "from": 2, "to": 8, "reason": "spool.cap", "at_ms": NOW_MS})
        room.send(1, 9)
        wait_for(lambda: room.acked == 9)
    assert room.asked == []
    assert count(engine, "SELECT count(*) FROM gaps WHERE reason = 'spool.cap'") == 1


def test_restart_goes_on_where_it_was(broker_port: int, engine: Engine, room: Room) -> None:
    """What was published while the collector was away arrives when it is back, once."""
    with collecting(broker_port, engine):
        room.send(1, 2)
        wait_for(lambda: room.acked == 2)
    room.send(3, 4)
    with collecting(broker_port, engine):
        wait_for(lambda: room.acked == 4)
    assert (count(engine), room.asked) == (4, [])


def test_restart_knows_what_was_declared_lost(broker_port: int, engine: Engine, room: Room) -> None:
    """Also behind a hole: that one alone is asked for."""
    with collecting(broker_port, engine):
        room.publish("event", {"kind": "gap", "epoch": "1", "from": 3, "to": 5, "reason": "spool.cap", "at_ms": NOW_MS})
        room.send(1, 6)
        wait_for(lambda: (count(engine), count(engine, "SELECT count(*) FROM gaps")) == (2, 1))
    room.asked.clear()
    room.keep(2)
    with collecting(broker_port, engine):
        room.send(7)
        wait_for(lambda: room.acked == 7)
    assert room.asked == [(2, 2)]


def test_bad_bytes_change_nothing(
    broker_port: int, engine: Engine, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """Anything on any topic is counted, logged once a kind, and stores nothing; the good goes on."""
    bad = mqtt.Client(CallbackAPIVersion.VERSION2, "bad", protocol=mqtt.MQTTv5)
    bad.connect("127.0.0.1", broker_port)
    bad.loop_start()
    kinds = ("window", "status", "meta", "event", "health")
    with collecting(broker_port, engine) as tally:
        for body in (b"", b"\x00\xff", b"[]", b"null", b"{}" * 9, b"{" * 9000, b"x" * 100_000):
            for kind in kinds:
                bad.publish(topic_of(7, kind), body, qos=1)
                bad.publish(f"fer/v1/A B/'--/<b>/{kind}", body, qos=1)
        last = bad.publish(topic_of(7), window_of(8, 1, NOW_MS), qos=1)  # another's name inside
        last.wait_for_publish(10)
        room.send(1)
        wait_for(lambda: room.acked == 1)
        assert tally.refused() == 69  # an empty status or meta is of a room that was removed
    bad.disconnect()
    assert (
        count(engine),
        count(engine, "SELECT count(*) FROM agents"),
        count(engine, "SELECT count(*) FROM live"),
    ) == (1, 1, 1)
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) == len(set(lines)) < 15


def test_a_damaged_file_is_told_from_one_that_comes_back(
    broker_port: int, sqlite_url: str, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is acknowledged, and the log says that waiting alone does not help."""
    engine = open_database(sqlite_url)
    with engine.connect() as connection:
        root = connection.scalar(text("SELECT rootpage FROM sqlite_master WHERE name = 'agents'"))
        size = connection.scalar(text("PRAGMA page_size"))
    engine.dispose()
    with Path(engine.url.database).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with collecting(broker_port, open_database(sqlite_url)):
        room.send(1)
        wait_for(lambda: "the file is damaged: stop the collector and put a backup back" in caplog.text)
    assert room.acked == 0


def test_users_of_the_broker_are_no_rooms(tmp_path: Path, engine: Engine) -> None:
    """With the project's ACL the viewer may publish windows as an agent of its name, as the other users may; none
    becomes a room."""
    acl = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "fer.acl"
    broker = Mosquitto(tmp_path / "broker", f"acl_file {acl}")
    with broker as server, collecting(server.port, engine, username="collector") as tally:
        for user in ("viewer", "homeassistant", "admin", "collector"):
            client = mqtt.Client(CallbackAPIVersion.VERSION2, f"as-{user}", protocol=mqtt.MQTTv5)
            client.username_pw_set(user)
            client.connect("127.0.0.1", server.port)
            client.loop_start()
            topic = f"fer/v1/school-0/room-2/{user}/window"
            client.publish(topic, window_of(1, 1, NOW_MS, agent=user), qos=1).wait_for_publish(10)
            client.disconnect()
            client.loop_stop()
        wait_for(lambda: tally.refused() == 4)
    assert (count(engine), count(engine, "SELECT count(*) FROM agents")) == (0, 0)


def test_a_device_of_many_gaps_keeps_no_room_waiting(broker_port: int, engine: Engine, room: Room) -> None:
    """A device has declared forty thousand gaps with a number between each two, declares more, and says that it is far
    ahead: another room's windows are stored and acknowledged."""

    def gap(n: int) -> bytes:
        return json.dumps({"kind": "gap", "epoch": "1", "from": n, "to": n, "reason": "x", "at_ms": NOW_MS}).encode()

    def hostile(n: int) -> Message:
        return Message(Source("school-0", "room-3", "fer-2"), "event", Gap.model_validate_json(gap(n)))

    Store(engine).write([hostile(n) for n in range(10, 80_010, 2)], NOW_MS)
    device = Room(broker_port, 2)
    device.publish("status", {"state": "ready", "session": 1, "epoch": "1", "newest_seq": 10**9}, retain=True)
    with collecting(broker_port, engine) as tally:
        for n in range(80_010, 84_010, 2):
            device.client.publish(topic_of(2, "event"), gap(n), qos=1)
        wait_for(lambda: len(device.asked) > 0, 60)
        room.send(1, 2)
        wait_for(lambda: room.acked == 2, 60)
        assert tally.refused() == 0
    device.close()


def test_full_database_acknowledges_nothing(broker_port: int, sqlite_url: str, room: Room) -> None:
    """While the database is full nothing is acknowledged; with room again, all is stored, once."""
    engine = open_database(sqlite_url)
    limit = {"pages": 0}

    @event.listens_for(engine, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit['pages'] or 1_000_000}")

    with collecting(broker_port, engine) as tally:
        room.send(1)
        wait_for(lambda: room.acked == 1)
        limit["pages"] = count(engine, "PRAGMA page_count")
        room.send(*range(2, 400))
        wait_for(lambda: tally.snapshot().get("database_errors"))
        time.sleep(1.5)
        assert room.acked == 1
        limit["pages"] = 0
        wait_for(lambda: room.acked == 399, 30)
    assert count(engine) == 399
    engine.dispose()


@pytest.mark.usefixtures("postgres")
def test_database_that_goes_away_loses_nothing(broker_port: int, tmp_path: Path, room: Room) -> None:
    """PostgreSQL is stopped in the middle and started again: every window is there, once."""
    with scratch_postgres() as url:
        engine = open_database(url)
        with collecting(broker_port, engine) as tally:
            room.send(*range(1, 20))
            wait_for(lambda: room.acked == 19)
            control_postgres(url, "stop", "-m", "immediate")
            room.send(*range(20, 60))
            wait_for(lambda: tally.snapshot().get("database_errors"))
            assert room.acked == 19
            control_postgres(url, "start")
            wait_for(lambda: room.acked == 59, 30)
        assert count(engine) == 59
        engine.dispose()


def test_embedded_broker_is_enough(engine: Engine) -> None:
    """With the broker that comes as a wheel, too, windows are stored, holes mended and acknowledged."""
    pytest.importorskip("iotcore", reason="the extra `demo` is not installed")
    from agent.delivery.embedded import EmbeddedBroker

    with EmbeddedBroker() as broker:
        room = Room(broker.port)
        with collecting(broker.port, engine):
            room.keep(3)
            room.send(1, 2, 4)
            wait_for(lambda: room.acked == 4)
        room.close()
    assert (count(engine), room.asked) == (4, [(3, 3)])


def test_holes_of_one_device_do_not_hold_up_anothers_ack(broker_port: int, sqlite_url: str, room: Room) -> None:
    """A device that begins an epoch with each window has a hole in each: what is asked of it leaves room for acks."""
    strange = Room(broker_port, 2)
    with collecting(broker_port, open_database(sqlite_url)):
        for epoch in range(4000):
            body = window_of(2, 5, NOW_MS + epoch, epoch=f"e{epoch}")
            sent = strange.client.publish(topic_of(2), body, qos=1)
        sent.wait_for_publish(120)
        wait_for(lambda: strange.asked, 60)
        room.send(1)
        wait_for(lambda: room.acked == 1, 60)
        assert len(strange.asked) < 2000
    strange.close()
