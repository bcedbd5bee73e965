"""Processes are killed at random moments: what had closed arrives once, what was open is declared (faults 2, 3, 19)."""

import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.delivery_agent import Nursery
from tests.mqtt_world import Mosquitto, wait_until
from tests.reference_subscriber import ReferenceSubscriber


def _closed(folder: Path) -> set[int]:
    return set(map(int, (folder / "closed").read_text().split()))


def _size(folder: Path) -> int:
    """Bytes of the list of windows that closed."""
    return (folder / "closed").stat().st_size if (folder / "closed").exists() else 0


def _siege(folder: Path, agent_kills: int, broker_kills: int, interval_s: float) -> dict[str, int]:
    """Kill both at random moments, let all heal, check every promise, and return what was counted."""
    rng = random.Random(20261)
    done = threading.Event()
    with Mosquitto(folder / "broker") as broker, ReferenceSubscriber(broker.port) as collector, Nursery() as nursery:

        def kill_broker() -> None:
            for _ in range(broker_kills):
                if done.wait(rng.uniform(0.3, 1.0) * max(1.0, agent_kills / max(1, broker_kills) * 0.3)):
                    break
                broker.end(signal.SIGKILL)
                time.sleep(rng.uniform(0.0, 0.4))
                broker.start()

        killer = threading.Thread(target=kill_broker)
        killer.start()
        for _ in range(agent_kills):
            before = _size(folder)
            pid = nursery.start(broker.port, folder / "state", folder / "closed", interval_s)
            if rng.random() < 0.8:  # the others may die while they start
                wait_until(lambda size=before: _size(folder) > size, 60, "a window closes")
            time.sleep(rng.uniform(0.02, 0.5))
            assert nursery.end(pid, signal.SIGKILL) == -signal.SIGKILL
        killer.join()
        before = len(_closed(folder))
        last = nursery.start(broker.port, folder / "state", folder / "closed", interval_s)
        wait_until(lambda: len(_closed(folder)) > before + 5, 60, "the last agent publishes")
        assert nursery.end(last, signal.SIGTERM) == 0
        done.set()
        stream = collector.stream()
        wait_until(lambda: stream.upto >= max(_closed(folder)), 90, "everything known to the collector")
        closed = _closed(folder)
        assert closed <= stream.windows.keys(), "a window that had closed was lost"
        assert collector.conflicts == [], "a number was used for two windows"
        assert not stream.windows.keys() & stream.gaps.keys(), "a window was declared lost and came"
        assert set(range(1, stream.newest + 1)) == stream.windows.keys() | stream.gaps.keys(), "an undeclared loss"
        # A kill between two pages of one write tears the file; the numbers reserved behind it are declared corrupt.
        assert set(stream.gaps.values()) <= {"crash", "corrupt"}
        return {
            "agent kills": agent_kills,
            "broker kills": broker_kills,
            "closed": len(closed),
            "arrived": len(stream.windows),
            "lost": len(closed - stream.windows.keys()),
            "gaps declared": len(stream.gaps),
            "duplicates before dedupe": collector.duplicates,
            "resends asked": collector.resends,
        }


def test_kills_lose_nothing_that_had_closed(tmp_path: Path) -> None:
    """25 kills of the agent and 3 of the broker: nothing that closed is lost, no number is reused, gaps declared."""
    counted = _siege(tmp_path, agent_kills=25, broker_kills=3, interval_s=0.01)
    assert counted["closed"] > 12, "half of them let a window close first, at the least"
    assert counted["gaps declared"] > 0


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_500_kills_lose_nothing_that_had_closed(tmp_path: Path) -> None:
    """The same with 500 kills of the agent and 50 of the broker; prints what was counted."""
    print(_siege(tmp_path, agent_kills=500, broker_kills=50, interval_s=0.02))
