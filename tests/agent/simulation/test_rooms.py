"""Simulated rooms speak the real protocol to a real broker: births, acks, resends, pauses, goodbyes."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Mqtt
from agent.errors import ConfigError, UnavailableError
from agent.simulation.rooms import SimulatedRooms
from tests.mqtt_world import FAST, Mosquitto, free_port, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", "max_queued_messages 0") as made:
        yield made


def _mqtt(broker: Mosquitto) -> Mqtt:
    return Mqtt(host="127.0.0.1", port=broker.port)


def test_a_collector_gets_every_window_of_every_room(broker: Mosquitto) -> None:
    """20 rooms with much trouble: nothing is lost unsaid, no number is used twice, late ones come flagged, acks empty
    the spools."""
    with (
        ReferenceSubscriber(broker.port) as collector,
        SimulatedRooms(_mqtt(broker), 20, window_s=0.5, trouble=10, pace=FAST) as simulated,
    ):
        wait_until(lambda: simulated.tally.windows > 400, 90)
        wait_until(lambda: any(w["replay"] for w in collector.windows()), 90, "a late one")
        # New windows close all the time, and rooms come and go: each must tell of all that it had closed by now.
        for room, newest in [(room, room.spool.newest_seq) for room in simulated.rooms]:
            wait_until(lambda room=room, n=newest: collector.stream(room.topics.agent).upto >= n, 90, "all told")
            wait_until(lambda room=room, n=newest: not room.spool.find(1, n), 90, "acks")
        assert collector.conflicts == []
        for stream in list(collector.streams.values()):
            assert not stream.windows.keys() & stream.gaps.keys()
        assert len(collector.streams) == 20


def test_one_thread_serves_all_rooms(broker: Mosquitto) -> None:
    """200 rooms cost one thread and one descriptor each."""
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with SimulatedRooms(_mqtt(broker), 200, window_s=60, trouble=0, pace=FAST) as simulated:
        wait_until(lambda: simulated.tally.connected == 200, 60)
        assert threading.active_count() - threads <= 1
        assert len(list(Path("/proc/self/fd").iterdir())) - files <= 210


def test_every_room_says_goodbye(broker: Mosquitto) -> None:
    """After a stop each retained status is `disconnected`."""
    with SimulatedRooms(_mqtt(broker), 10, window_s=0.3, trouble=0, pace=FAST) as simulated:
        wait_until(lambda: simulated.tally.connected == 10, 30)
    with ReferenceSubscriber(broker.port, acks=False) as newcomer:
        wait_until(lambda: len(newcomer.payloads("status")) == 10, 60)
        assert {s["state"] for s in newcomer.payloads("status")} == {"disconnected"}


def test_a_room_can_be_paused_and_resumed(broker: Mosquitto) -> None:
    """Like a device: windows say "paused", the status too, until `resume`."""
    root = "fer/v1/school-01/room-01/sim-0000"
    with (
        ReferenceSubscriber(broker.port) as collector,
        SimulatedRooms(_mqtt(broker), 1, window_s=0.3, trouble=0, pace=FAST),
    ):
        wait_until(lambda: collector.payloads("window"), 20)
        collector.publish(f"{root}/cmd/pause", b"{}")
        wait_until(lambda: collector.newest("window").get("suppressed") == "paused", 20)
        wait_until(lambda: collector.newest("status").get("state") == "paused", 20)
        collector.publish(f"{root}/cmd/resume", b"{}")
        wait_until(lambda: collector.newest("window").get("suppressed") != "paused", 20)


def test_rooms_come_back_after_the_broker_did(broker: Mosquitto) -> None:
    """A restart of the broker: all rooms reconnect, and what closed meanwhile comes."""
    with ReferenceSubscriber(broker.port) as collector:
        with SimulatedRooms(_mqtt(broker), 10, window_s=0.5, trouble=0, pace=FAST) as simulated:
            wait_until(lambda: simulated.tally.connected == 10, 30)
            broker.end()
            time.sleep(2)
            broker.start()
            wait_until(lambda: simulated.tally.connected == 10, 30)
            wait_until(lambda: any(w["replay"] for w in collector.windows()), 30)
        assert all(not stream.gaps for stream in collector.streams.values())


def test_history_ends_now(broker: Mosquitto) -> None:
    """With a speed and a duration, the last windows end about now, and none in the future."""
    with ReferenceSubscriber(broker.port) as collector:
        with SimulatedRooms(_mqtt(broker), 3, speed=120, seconds=3) as simulated:
            time.sleep(3)
        ends = [w["end_ms"] / 1000 for w in collector.payloads("window")]
    assert simulated.tally.windows > 10
    assert max(ends) <= time.time()
    assert max(ends) > time.time() - 300
    assert min(ends) < time.time() - 200


def test_without_a_broker_it_says_so() -> None:
    """Exit 69's error, at once."""
    with pytest.raises(UnavailableError, match="no broker at"), SimulatedRooms(Mqtt(port=free_port()), 5):
        pass


def test_the_command_runs_and_counts(broker: Mosquitto) -> None:
    """`fer-agent simulate` for two seconds: exit 0, and a line that says what was done."""
    command = [sys.executable, "-m", "agent", "simulate", "--broker", f"127.0.0.1:{broker.port}", "--rooms", "5"]
    done = subprocess.run(
        [*command, "--window", "0.5", "--seconds", "2"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "rooms connected" in done.stderr
    assert done.stdout == ""


def test_a_stopped_command_says_goodbye(broker: Mosquitto) -> None:
    """SIGTERM, as from a service manager: goodbyes, and exit 0."""
    command = [sys.executable, "-m", "agent", "simulate", "--broker", f"127.0.0.1:{broker.port}", "--rooms", "3"]
    with ReferenceSubscriber(broker.port) as collector:
        process = subprocess.Popen([*command, "--window", "0.5"], cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_until(lambda: len({w["agent"] for w in collector.payloads("window")}) == 3, 60)
        process.terminate()
        assert process.wait(30) == 0
        wait_until(lambda: sum(s["state"] == "disconnected" for s in collector.payloads("status")) == 3, 60)


def test_a_second_simulation_of_the_same_ids_gives_way(broker: Mosquitto) -> None:
    """It ends with the agent's own message; with another name both go on."""
    with SimulatedRooms(_mqtt(broker), 2, window_s=0.5, trouble=0, pace=FAST) as first:
        wait_until(lambda: first.tally.connected == 2, 20)
        second = SimulatedRooms(_mqtt(broker), 2, window_s=0.5, trouble=0, pace=FAST).__enter__()
        wait_until(lambda: not second.running, 30)
        with pytest.raises(ConfigError, match="two agents have the id 'sim-000"):
            second.__exit__(None, None, None)
        with SimulatedRooms(_mqtt(broker), 2, window_s=0.5, trouble=0, pace=FAST, name="other") as third:
            wait_until(lambda: third.tally.connected == 2, 20)
            wait_until(lambda: third.tally.windows > 5, 20)
        assert first.running


@pytest.mark.long
def test_1000_rooms_on_one_machine(broker: Mosquitto) -> None:
    """1,000 rooms at real speed: every one connected, their windows sent as they close; prints the cost."""
    start, cpu = time.monotonic(), time.process_time()
    with SimulatedRooms(_mqtt(broker), 1000, trouble=0) as simulated:
        wait_until(lambda: simulated.tally.connected == 1000, 60)
        wait_until(lambda: simulated.tally.windows >= 1000, 90)
        share = (time.process_time() - cpu) / (time.monotonic() - start)
        print({"windows": simulated.tally.windows, "share of one core": round(share, 3)})
