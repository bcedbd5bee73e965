"""The collector's connection: no more at once than the broker takes, and each trouble said once."""

import json
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.collector.broker import Address, Broker
from deploy.collector.messages import Source
from tests.deploy.conftest import wait_for
from tests.deploy.strict_broker import StrictBroker
from tests.mqtt_world import Mosquitto, wait_until

ROOM = Source("school", "room", "fer-1")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "fer.collector"):
        yield caplog


def publish(broker: Broker, seqs: range) -> None:
    wait_for(lambda: broker.connected)
    for seq in seqs:
        broker.publish_ack(ROOM, "1", seq)


def drain(strict: StrictBroker, upto: int) -> list[int]:
    """Answer one after the other until number `upto` was; return what was answered."""

    def done() -> bool:
        strict.answer()
        return any(json.loads(body)["upto_seq"] == upto for body in strict.answered)

    wait_until(done, 30)
    return [json.loads(body)["upto_seq"] for body in strict.answered]


def test_a_broker_gets_no_more_at_once_than_it_takes() -> None:
    """Two without an answer where the broker takes two; the others wait, in order, and none is lost."""
    with StrictBroker(2) as strict, Broker(Address(port=strict.port)) as broker:
        publish(broker, range(1, 11))
        wait_for(lambda: len(strict.open) == 2)
        time.sleep(0.3)
        assert len(strict.open) == 2
        assert drain(strict, 10) == list(range(1, 11))
        assert (strict.broken, strict.welcomes) == (0, 1)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (50, 2), (2, 5)])
def test_nor_after_a_reconnect(before: int, after: int) -> None:
    """What had no answer, or waited, when the connection ended is sent again no faster than the new one allows."""
    with StrictBroker(before) as strict, Broker(Address(port=strict.port)) as broker:
        publish(broker, range(1, 31))
        wait_for(lambda: len(strict.open) == min(30, before))
        strict.most = after
        strict.cut()
        wait_for(lambda: strict.welcomes == 2 and len(strict.open) == after)
        publish(broker, range(31, 41))
        time.sleep(0.3)
        assert len(strict.open) == after
        assert drain(strict, 40) == list(range(1, 41))
        assert (strict.broken, strict.welcomes) == (0, 2)


def test_what_is_published_while_the_connection_comes_back_is_within_the_limit() -> None:
    """Publishing all the time, over three connections, each welcomed late: no limit is broken, and all arrives."""
    with StrictBroker(50) as strict, Broker(Address(port=strict.port)) as broker:
        wait_for(lambda: broker.connected)
        strict.most, strict.slow_s = 2, 0.5
        for n in range(400):
            if n in (50, 250):
                strict.cut()
            broker.publish_ack(ROOM, "1", n)
            time.sleep(0.01)
        assert sorted(drain(strict, 399)) == list(range(400))
        assert (strict.broken, strict.welcomes) == (0, 3)


def test_a_refused_login_is_said_once(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """However often it is tried, it is one line; then the next one is that the broker let it in."""
    passwd = tmp_path / "passwd"
    passwd.touch(mode=0o600)
    make = ["mosquitto_passwd", "-b", str(passwd), "collector"]

    subprocess.run([*make, "another"], check=True)
    server = Mosquitto(tmp_path / "broker", f"password_file {passwd}", anonymous=False)
    address = Address(port=server.port, username="collector", password="right")
    with server, Broker(address) as broker:
        wait_for(lambda: (server.folder / "mosquitto.log").read_text().count("not authori") >= 3, 30)
        lines = [record.getMessage() for record in said.records]
        assert len(lines) == 1
        assert lines[0].startswith("event=broker.refused reason='Not authorized' action=\"check --username")
        subprocess.run([*make, "right"], check=True)
        server.send(1)  # SIGHUP
        wait_for(lambda: broker.hears_windows, 60)
    assert [record.getMessage().split()[0] for record in said.records][:3] == [
        "event=broker.refused",
        "event=broker.connected",
        "event=broker.subscribed",
    ]


def test_a_broker_that_ends_is_told_in_words(said: pytest.LogCaptureFixture) -> None:
    """MQTT has no reason for a connection that was only closed, and paho's "Unspecified error" is none either."""
    with StrictBroker(1) as strict, Broker(Address(port=strict.port)) as broker:
        wait_for(lambda: broker.connected)
        strict.cut()
        wait_for(lambda: "event=broker.disconnected reason='the broker closed the connection'" in said.text)


def test_a_port_that_hangs_up_is_said_once(said: pytest.LogCaptureFixture) -> None:
    """Something that is no broker, and ends each connection without an answer, is one line that says so."""
    tries: list[int] = []

    def hang_up(listener: socket.socket) -> None:
        while len(tries) < 4:
            listener.accept()[0].close()
            tries.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        with Broker(Address(port=listener.getsockname()[1])):
            wait_for(lambda: len(tries) == 3, 60)
            lines = [record.getMessage() for record in said.records]
        assert len(lines) == 1
        assert lines[0].startswith("event=broker.away reason='ended the connection without an answer'")
        socket.create_connection(listener.getsockname()).close()
        thread.join(10)


def test_two_of_one_name_are_told(broker_port: int, said: pytest.LogCaptureFixture) -> None:
    """Two collectors with the same --name, whom the broker lets in by turns for ever, say once what to change, and
    stop to put each other out once a second."""
    with Broker(Address(port=broker_port)) as one, Broker(Address(port=broker_port)) as other:
        wait_until(lambda: "event=broker.contested" in said.text, 60)
        assert "another collector may be called 1: give each a --name of its own" in said.text
        time.sleep(3)
        before = said.text
        time.sleep(5)
        assert said.text == before
        assert one.connected != other.connected
