"""The agent's connection to brokers that can less than it needs, or that are none: what it says, and what it leaves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.delivery.publish import Publisher
from tests.mqtt_world import FAST, MADE_BY, settings, wait_until


@contextmanager
def answering(answer: bytes, heard: list[bytes]) -> Iterator[int]:
    """A port that answers what each connection says first with `answer`, and keeps what it says then."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with server.accept()[0] as client:
                client.settimeout(20)
                client.recv(4096)
                client.sendall(answer)
                heard.append(client.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        ended.set()


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (0x24, "the broker takes QoS 0 alone; set max_qos 1 or more on the broker"),
        (0x25, "the broker keeps no retained messages; set retain_available true on the broker"),
        (0x28, "the broker takes no wildcard in a subscription; allow wildcards on the broker"),
    ],
)
def test_a_welcome_that_names_a_lack_is_a_refusal(lacks: int, says: str) -> None:
    """The agent says what is lacking, and leaves with a goodbye: what it would send would end each connection."""
    heard: list[bytes] = []
    with answering(bytes([0x20, 5, 0, 0, 2, lacks, 0]), heard) as port:
        with Publisher(settings(port), MADE_BY, pace=FAST) as publisher:
            wait_until(lambda: len(heard) > 1, 20)
            assert publisher.report()["broker"]["reason"] == says
        assert {packet[0] for packet in heard if packet} == {0xE0}  # DISCONNECT


@pytest.mark.parametrize(("version", "asks"), [("5", True), ("3.1.1", False)])
def test_a_port_that_never_answers_is_told_as_such(version: str, asks: bool) -> None:
    """It may be no broker, or, where MQTT 5 was spoken, one that knows none."""
    with (
        answering(b"", []) as port,
        Publisher(settings(port, version=version, keepalive_s=5), MADE_BY, pace=FAST) as publisher,
    ):
        wait_until(lambda: publisher.report()["broker"]["reason"], 30)
        reason = publisher.report()["broker"]["reason"]
    assert reason.startswith(f"127.0.0.1:{port} does not answer as a broker: is it an MQTT broker's port (mqtt.port)")
    assert ("3.1.1" in reason) == asks
