"""Brokers that can less than mosquitto: MQTT 3.1.1 alone, one message at a time, no groups, no QoS 1."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import Mqtt
from agent.errors import UsageError
from agent.simulation.rooms import SimulatedRooms
from deploy.collector.broker import Address, Broker
from deploy.collector.database import open_database
from deploy.collector.messages import Source
from deploy.collector.options import broker_address
from deploy.collector.questions import Questions
from deploy.collector.streams import Hole
from tests.curt_broker import CurtBroker, answering
from tests.deploy.conftest import Room, collecting, count, wait_for
from tests.mqtt_world import FAST, Mosquitto

SOURCE = Source("school", "room", "fer-1")
OLD = b"\x20\x02\x00\x01"
"""The welcome that is none of a broker that has never heard of MQTT 5."""


def welcome(*properties: int) -> bytes:
    """A CONNACK of MQTT 5 with these properties."""
    return bytes([0x20, 3 + len(properties), 0, 0, len(properties), *properties])


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "fer.collector"):
        yield caplog


def test_all_of_it_over_mqtt_3_1_1(tmp_path: Path, sqlite_url: str, said: pytest.LogCaptureFixture) -> None:
    """Rooms with trouble, whose broker is killed: every window is one row, the spools empty, and what that version
    hides is said once."""
    engine = open_database(sqlite_url)
    mqtt = Mqtt(version="3.1.1")
    with Mosquitto(tmp_path / "broker", "max_queued_messages 0") as server:
        mqtt = mqtt.model_copy(update={"port": server.port})
        with (
            collecting(server.port, engine, version="3.1.1") as tally,
            SimulatedRooms(mqtt, 5, window_s=0.5, trouble=5, pace=FAST) as rooms,
        ):
            wait_for(lambda: rooms.tally.windows > 40, 60)
            server.restart(9)
            wait_for(lambda: rooms.tally.windows > 120, 60)
            told = [(room, room.spool.newest_seq) for room in rooms.rooms]
            for room, newest in told:
                wait_for(lambda room=room, newest=newest: not room.spool.find(1, newest), 60)
        assert tally.refused() == 0
    lost = "SELECT coalesce(sum(to_seq - from_seq + 1), 0) FROM gaps"
    assert count(engine) + count(engine, lost) >= sum(newest for _, newest in told)
    assert sum("event=broker.old" in record.getMessage() for record in said.records) == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("told", "counts"), [((3, 9), True), ((3, 12), True), ((4, 9), False), ((3, 8), False), (None, False)]
)
def test_without_correlation_data_an_answer_is_known_by_its_numbers(told: tuple[int, int] | None, counts: bool) -> None:
    """Over MQTT 3.1.1 an answer to somebody else's question counts if it is about all that was asked for."""
    questions = Questions()
    questions.ask(SOURCE, None, Hole(1, 3, 9))
    questions.hear(SOURCE, 1.0)
    questions.answer(SOURCE, None, told)
    assert (questions.close(SOURCE, 2.0).counts is not None) == counts


def test_a_hole_is_mended_over_mqtt_3_1_1(broker_port: int, sqlite_url: str) -> None:
    """The question has neither response topic nor correlation data; the windows come all the same."""
    engine = open_database(sqlite_url)
    mqtt = Mqtt(port=broker_port, version="3.1.1")
    with SimulatedRooms(mqtt, 1, window_s=0.5, trouble=0, pace=FAST) as rooms:
        wait_for(lambda: rooms.tally.windows > 4, 60)  # nobody listens yet
        with collecting(broker_port, engine, version="3.1.1") as tally:
            wait_for(lambda: count(engine, "SELECT coalesce(min(seq), 9) FROM windows") == 1, 60)
        assert tally.snapshot()["resends_asked"] >= 1
    engine.dispose()


def test_a_broker_that_waits_for_a_confirmation_is_not_kept_waiting(broker_port: int) -> None:
    """What it sends only after the confirmation of what it sent before cannot come while a batch gathers: one ends once
    nothing comes."""
    with Broker(Address(port=broker_port)) as broker:
        wait_for(lambda: broker.hears_windows)
        room = Room(broker_port)
        room.send(1)
        began = time.monotonic()
        assert broker.take(1000, 20, 40)
        assert time.monotonic() - began < 40 / 2
        room.close()


@pytest.mark.parametrize(
    ("answer", "share", "says"),
    [
        (welcome(0x24, 0), None, "reason='the broker takes QoS 0 alone' action='set max_qos 1 or more on the broker'"),
        (welcome(0x25, 0), None, "keeps no retained messages"),
        (welcome(0x28, 0), None, "takes no wildcard in a subscription"),
        (welcome(0x2A, 0), "school", "no shared subscriptions' action='leave --share out'"),
        (OLD, None, "reason='Unsupported protocol version' action='give --mqtt-version 3.1.1'"),
    ],
)
def test_what_a_broker_lacks_is_said_once(
    answer: bytes, share: str | None, says: str, said: pytest.LogCaptureFixture
) -> None:
    """With what to do, and without asking it for what it cannot do, which would end each connection."""
    heard: list[bytes] = []
    with answering(answer, heard) as port, Broker(Address(port=port, share=share)) as broker:
        wait_for(lambda: said.records)
        time.sleep(3)
        assert not broker.connected
        assert not any(heard)
        (line,) = [record.getMessage() for record in said.records]
    assert line.startswith("event=broker.refused")
    assert says in line


def test_a_group_takes_mqtt_5() -> None:
    """--share is refused with MQTT 3.1.1, where a subscription of a group is an ordinary topic that nobody uses."""
    given: dict[str, Any] = dict.fromkeys(("username", "ca_file", "password_file"))
    given |= {"host": "127.0.0.1", "port": 1883, "tls": False, "name": "1", "share": "g", "mqtt_version": "3.1.1"}
    with pytest.raises(UsageError, match=r"--share: expected MQTT 5, got --mqtt-version 3\.1\.1"):
        broker_address(given)


def test_a_broker_that_ends_each_connection_over_an_ack(said: pytest.LogCaptureFixture) -> None:
    """It cannot say no: the line that its ACL lacks is named once, and it is not tried once a second for ever."""
    with CurtBroker("ack") as server, Broker(Address(port=server.port, version="3.1.1", username="coll")) as broker:
        wait_for(lambda: broker.connected)
        broker.publish_ack(SOURCE, "1", 5)
        wait_for(lambda: broker.take(1, 0.1, 0) or server.welcomes >= 3, 30)
        for _ in range(50):
            broker.take(1, 0.1, 0)
        assert server.welcomes <= 4
        lines = [record.getMessage() for record in said.records if "broker.denied" in record.getMessage()]
    assert len(lines) == 1
    assert """action='allow "topic write fer/v1/+/+/+/ack" to coll'""" in lines[0]


def test_a_broker_that_ends_each_connection_over_what_is_to_be_read(said: pytest.LogCaptureFixture) -> None:
    """The same of a subscription: the line is named once, tries get rare, and that it is allowed again is said."""
    with CurtBroker("#") as server, Broker(Address(port=server.port, version="3.1.1", username="coll")) as broker:
        wait_for(lambda: broker.take(1, 0.1, 0) or server.welcomes >= 2, 30)
        for _ in range(50):
            broker.take(1, 0.1, 0)
        assert server.welcomes <= 4
        lines = [record.getMessage() for record in said.records if "broker.denied" in record.getMessage()]
        assert len(lines) == 1
        assert """what=reading topic=fer/v1/# reason='ends each connection""" in lines[0]
        assert """action='allow "topic read fer/v1/#" to coll'""" in lines[0]
        server.forbidden.clear()
        wait_for(lambda: broker.take(1, 0.1, 0) or broker.hears_windows, 40)
        broker.take(1, 0.1, 0)
    assert any("event=broker.allowed what=reading topic=fer/v1/#" in record.getMessage() for record in said.records)
