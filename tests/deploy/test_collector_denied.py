"""A real broker that denies the collector something: it is named in the log, and no window is called lost for it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from deploy.collector.broker import Address, Broker
from deploy.collector.ingest import Ingest
from deploy.collector.messages import Source
from deploy.collector.store import Store
from deploy.collector.tally import Tally
from tests.deploy.conftest import Room, collecting, count, wait_for
from tests.mqtt_world import Mosquitto

ALL = ("read fer/v1/+/+/+/status", "read fer/v1/+/+/+/rsp/#", "write fer/v1/+/+/+/cmd/#", "write fer/v1/+/+/+/ack")
WINDOWS = "read fer/v1/+/+/+/window"
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)


def allowing(folder: Path, *lines: str) -> Mosquitto:
    """A broker at which anybody may do all, and the collector only this."""
    acl = folder / "fer.acl"
    acl.write_text("\n".join(["topic readwrite #", "user collector", *(f"topic {line}" for line in lines)]) + "\n")
    return Mosquitto(folder / "broker", f"acl_file {acl}")


def refusing(folder: Path, *filters: str) -> Mosquitto:
    """A broker that refuses subscriptions to these, as an ACL file never does."""
    if PLUGIN is None:
        pytest.skip("mosquitto's dynamic security is not here")
    deny = [{"acltype": "subscribeLiteral", "topic": topic, "allow": False, "priority": 1} for topic in filters]
    default = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True)
    roles = [{"rolename": "some", "acls": deny}]
    groups = [{"groupname": "all", "roles": [{"rolename": "some"}], "clients": []}]
    config = {"defaultACLAccess": default, "clients": [], "groups": groups, "roles": roles, "anonymousGroup": "all"}
    file = folder / "dynsec.json"
    file.write_text(json.dumps(config))
    return Mosquitto(folder / "broker", f"plugin {PLUGIN}", f"plugin_opt_config_file {file}")


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "fer.collector"):
        yield caplog


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database is enough for what a broker does."""
    return sqlite_url


def status_of(room: Room, newest: int) -> None:
    room.publish("status", {"state": "ready", "session": 1, "epoch": "1", "newest_seq": newest}, retain=True)


def hasten(broker: Broker, engine: Engine, seconds: int) -> None:
    """Collect for so many seconds of a clock that runs fast; the broker and what it brings are real."""
    clock = [0.0]
    ingest = Ingest(broker, Store(engine), Tally(), monotonic=lambda: clock[0])
    wait_for(lambda: broker.connected)
    for _ in range(seconds):
        clock[0] += 1
        if batch := broker.take(1000, wait_s=0.03, linger_s=0.01):
            assert ingest._take_in(batch)
        ingest._tick()


def test_windows_that_may_not_be_read_are_not_lost(
    tmp_path: Path, engine: Engine, errors: pytest.LogCaptureFixture
) -> None:
    """Mosquitto grants the subscription and sends no window; status and answers come. However long that lasts nothing
    is acknowledged, and the log says what to allow."""
    with allowing(tmp_path, *ALL) as server:
        room = Room(server.port)
        room.send(1, 2, 3)
        status_of(room, 3)
        with Broker(Address(port=server.port, username="collector")) as broker:
            hasten(broker, engine, 400)
            assert (room.acked, count(engine, "SELECT count(*) FROM gaps")) == (0, 0)
        room.close()
    assert len(room.asked) > 3
    assert errors.text.count("event=windows.unheard") == 1
    assert f'allow "topic {WINDOWS}" to collector' in errors.text


@pytest.mark.parametrize("share", [None, "school"])
def test_a_refused_subscription_is_named(
    tmp_path: Path, engine: Engine, errors: pytest.LogCaptureFixture, share: str | None
) -> None:
    """Each topic that the broker refuses is one error with the line for its ACL; without windows nothing is asked for,
    and nothing lost."""
    topic = "fer/v1/+/+/+/window"
    refused = f"$share/{share}/{topic}" if share else topic
    with refusing(tmp_path, refused, "fer/v1/+/+/+/health") as server:
        room = Room(server.port)
        status_of(room, 3)
        with Broker(Address(port=server.port, share=share)) as broker:
            wait_for(lambda: errors.text.count("event=broker.denied") == 2)
            assert not broker.hears_windows
            hasten(broker, engine, 100)
            assert (room.acked, room.asked, count(engine, "SELECT count(*) FROM gaps")) == (0, [], 0)
        room.close()
    assert f"topic={refused} reason='Not authorized'" in errors.text
    for name in (topic, "fer/v1/+/+/+/health"):
        assert f'allow "topic read {name}" to the anonymous user' in errors.text
    assert errors.text.count("event=broker.denied") == 2


@pytest.mark.parametrize("denied", [ALL[2], ALL[3]])
def test_a_refused_publish_is_named_once(
    tmp_path: Path, engine: Engine, errors: pytest.LogCaptureFixture, denied: str
) -> None:
    """Commands or acks that the broker refuses: one error with the line for its ACL, however many there are."""
    with allowing(tmp_path, WINDOWS, *(line for line in ALL if line != denied)) as server:
        room = Room(server.port)
        with collecting(server.port, engine, username="collector"):
            room.send(1, 3)
            wait_for(lambda: f'allow "topic {denied}" to collector' in errors.text)
            room.send(*range(4, 30))
            wait_for(lambda: count(engine) == 28)
        room.close()
    assert errors.text.count("event=broker.denied") == 1


def test_what_is_allowed_again_is_told(tmp_path: Path, errors: pytest.LogCaptureFixture) -> None:
    """An ACL that was mended is one line, too."""
    answers: list[Any] = []
    with allowing(tmp_path, *ALL[:3]) as server, Broker(Address(port=server.port, username="collector")) as broker:
        wait_for(lambda: broker.connected)

        def publish(says: str) -> None:
            broker.publish_ack(Source("a", "b", "c"), "e", 1)
            wait_for(lambda: answers.append(broker.take(1, 0.05, 0)) or says in errors.text)

        publish("event=broker.denied")
        acl = tmp_path / "fer.acl"
        acl.write_text(acl.read_text() + f"topic {ALL[3]}\n")
        server.send(1)  # SIGHUP
        wait_for(lambda: "Reloading config" in (server.folder / "mosquitto.log").read_text())
        publish("event=broker.allowed")
