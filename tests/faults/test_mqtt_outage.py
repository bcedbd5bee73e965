"""A broker that is away for a day, in compressed time: the spool holds, drains slowly, live stays live."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.delivery.publish import Publisher
from agent.delivery.wallclock import media_clock
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

DAY = 24 * 60
"""Windows of 60 s."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", "max_queued_messages 0") as made:
        yield made


def _disk(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def test_a_day_without_a_broker(broker: Mosquitto, tmp_path: Path) -> None:
    """1,440 windows wait below the cap; then they drain oldest first, no faster than the rate, while windows that close
    meanwhile come at once and are not flagged; every one of them once after dedupe, none lost."""
    rate = 150.0
    pace = replace(FAST, rate=rate, fresh_s=0.3)
    broker.end()
    with Publisher(
        settings(broker.port, spool_mb=8), MADE_BY, pace=pace, clock=media_clock(0), state_dir=tmp_path
    ) as publisher:
        for number in range(DAY):
            publisher(summary(number))
        assert _disk(tmp_path / "spool") <= 8e6
        time.sleep(0.5)
        broker.start()
        with ReferenceSubscriber(broker.port) as collector:
            wait_until(lambda: len(collector.stream().windows) > 50, 30)
            began, at = time.monotonic(), len(collector.stream().windows)
            for number in range(DAY, DAY + 5):
                publisher(summary(number))
                wait_until(lambda n=number: n + 1 in collector.stream().windows, 5, "a live window waits")
                assert collector.stream().windows[number + 1]["replay"] is False
            wait_until(lambda: len(collector.stream().windows) == DAY + 5, 120)
            drained = (DAY - at) / (time.monotonic() - began)
            late = [w["seq"] for w in collector.stream().windows.values() if w["replay"]]
            assert late == sorted(late)
            assert drained < rate * 1.3
            assert collector.stream().gaps == {}
            assert collector.conflicts == []


def test_a_cap_that_is_reached_is_told(broker: Mosquitto, tmp_path: Path) -> None:
    """A cap of 0.5 MB and a day of windows: the disk stays below it, the newest are kept, the oldest are declared."""
    broker.end()
    wanted = settings(broker.port, spool_mb=0.5)
    with Publisher(wanted, MADE_BY, pace=FAST, clock=media_clock(0), state_dir=tmp_path) as publisher:
        for number in range(DAY):
            publisher(summary(number))
            if number % 100 == 0:
                assert _disk(tmp_path / "spool") <= 0.5e6 + 16_384  # the head's two pages and the folder
        broker.start()
        with ReferenceSubscriber(broker.port) as collector:
            wait_until(lambda: collector.stream().upto == DAY, 60)
            windows, gaps = collector.stream().windows, collector.stream().gaps
            assert set(gaps.values()) == {"cap"}
            assert max(gaps) < min(windows)
            assert windows.keys() | gaps.keys() == set(range(1, DAY + 1))
