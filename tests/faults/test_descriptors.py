"""Reconnecting uses up nothing: a day without a broker must not end in "too many open files"."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.delivery.publish import Publisher
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, wait_until


@pytest.fixture
def no_collector_of_garbage() -> Iterator[None]:
    """The garbage collector comes when it likes; what needs it to close a socket is a leak until then."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_reconnects_leak_no_descriptor(tmp_path: Path, no_collector_of_garbage: None) -> None:
    """Four times the broker goes, is missed by several tries, and comes back: as many descriptors as before."""
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path / "state") as publisher,
    ):
        assert publisher.wait_connected(20)
        before = descriptors()
        for _ in range(4):
            broker.end()
            wait_until(lambda: not publisher.wait_connected(0), 20)
            time.sleep(0.7)
            broker.start()
            wait_until(lambda: publisher.wait_connected(0), 20)
        wait_until(lambda: descriptors() <= before, 60, "descriptors of connections that are gone")
