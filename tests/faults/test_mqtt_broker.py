"""A broker that is absent, restarted, killed or frozen; a collector that was away (faults 1-4, 14, 16)."""

import json
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.delivery.pace import Pace
from agent.delivery.publish import Publisher
from agent.delivery.wallclock import media_clock
from tests.delivery_agent import Nursery
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = "fer/v1/test/room/fer"


def test_without_a_broker_windows_wait_and_then_come_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 1. The broker is absent at the start: publishing works at once, and later all comes, in order of seq."""
    broker.end()
    with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        started = time.monotonic()
        for number in range(30):
            publisher(summary(number))
        assert not publisher.wait_connected(0.5)
        assert time.monotonic() - started < 20
        publisher.state("ready")
        time.sleep(FAST.fresh_s)  # now they are late
        broker.start()
        with ReferenceSubscriber(broker.port) as collector:
            wait_until(lambda: len(collector.stream().windows) == 30, 30)
            wait_until(lambda: collector.newest("status").get("state") == "ready", 60)
            assert list(collector.stream().windows) == list(range(1, 31))
            assert collector.stream().gaps == {}
            assert all(w["replay"] for w in collector.stream().windows.values())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_comes_back_gets_everything(broker: Mosquitto, tmp_path: Path, how: signal.Signals) -> None:
    """Faults 2 and 3. Restarted or killed with all its memory: status, meta and discovery are there again, and what no
    collector had acknowledged comes again; 0 lost, 0 gaps, late windows flagged."""
    wanted = settings(broker.port, home_assistant=True)
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(wanted, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        assert publisher.wait_connected(20)
        publisher.state("ready")
        for number in range(20):
            publisher(summary(number))
        wait_until(lambda: len(collector.stream().windows) == 20, 20)
        broker.end(how)
        (broker.folder / "mosquitto.db").unlink(missing_ok=True)
        for number in range(20, 40):
            publisher(summary(number))
        time.sleep(FAST.fresh_s)
        broker.start()
        wait_until(lambda: len(collector.stream().windows) == 40, 30)
        windows = collector.stream().windows
        assert collector.stream().gaps == {}
        assert all(windows[seq]["replay"] for seq in range(21, 41))
        assert not any(windows[seq]["replay"] for seq in range(1, 21))
        with ReferenceSubscriber(broker.port, acks=False) as newcomer:
            kinds = ("status", "meta", "ack", "config")
            wait_until(lambda: all(newcomer.payloads(kind) for kind in kinds), 20, "retained messages")
            assert newcomer.newest("status").get("state") == "ready"


def test_a_broker_that_ends_is_told_in_words(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """MQTT has no reason for a connection that was only closed, and paho's "Unspecified error" is none either."""
    with Publisher(settings(broker.port), MADE_BY, pace=FAST) as publisher:
        assert publisher.wait_connected(20)
        broker.end(signal.SIGKILL)
        wait_until(lambda: "event=mqtt.down reason='the broker closed the connection'" in caplog.text, 60)


def test_a_broker_killed_after_its_puback_loses_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 3. It took the windows (PUBACK), nobody was there to get them, it was killed: they come again."""
    with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        for number in range(20):
            publisher(summary(number))
        wait_until(lambda: publisher._courier.outbox.idle and publisher.newest_seq == 20, 20, "all PUBACKs")
        broker.restart(signal.SIGKILL)
        with ReferenceSubscriber(broker.port) as collector:
            wait_until(lambda: len(collector.stream().windows) == 20, 30)


def test_the_agent_forgets_what_is_acknowledged(broker: Mosquitto, tmp_path: Path) -> None:
    """With a collector that acks, the spool empties, and after a reconnect nothing comes twice."""
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        for number in range(30):
            publisher(summary(number))
        wait_until(lambda: publisher._spool.depth()[0] == 0, 20, "an empty spool")
        broker.restart()
        publisher(summary(30))
        wait_until(lambda: len(collector.stream().windows) == 31, 30)
        time.sleep(1)
        assert collector.duplicates <= 1  # the one that was under way may come twice


def test_live_windows_pass_the_backlog(broker: Mosquitto, tmp_path: Path) -> None:
    """While 100 late windows come at 20 a second, a live one comes at once, and the late ones are not faster."""
    slow = Pace(rate=20, wait_min_s=0.05, wait_max_s=0.2, grace_s=0.1, fresh_s=0.5)
    broker.end()
    with Publisher(settings(broker.port), MADE_BY, pace=slow, state_dir=tmp_path) as publisher:
        for number in range(100):
            publisher(summary(number))
        time.sleep(1)
        broker.start()
        with ReferenceSubscriber(broker.port) as collector:
            wait_until(lambda: len(collector.stream().windows) > 10, 20)
            before = len(collector.stream().windows)
            publisher(summary(100))
            wait_until(lambda: 101 in collector.stream().windows, 60, "the live window")
            behind = len(collector.stream().windows) - before
            assert behind < 60, "the live window waited for the backlog"
            assert not collector.stream().windows[101]["replay"]
            wait_until(lambda: len(collector.stream().windows) == 101, 60)


@pytest.mark.long
def test_a_frozen_broker_is_noticed(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 4. SIGSTOP: noticed within 2 x keepalive (5 s here); after SIGCONT all comes, nothing is counted twice."""
    _freeze(broker, tmp_path)


def _freeze(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port, keepalive_s=5), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        publisher(summary(0))
        wait_until(lambda: len(collector.stream().windows) == 1, 20)
        broker.send(signal.SIGSTOP)
        stopped = time.monotonic()
        for number in range(1, 10):
            publisher(summary(number))
        try:
            wait_until(lambda: not publisher.wait_connected(0), 20, "the silence is noticed")
            assert time.monotonic() - stopped < 2 * 5 + 6  # a busy machine needs a moment
        finally:
            broker.send(signal.SIGCONT)
        wait_until(lambda: len(collector.stream().windows) == 10, 60)
        assert collector.conflicts == []
        assert collector.stream().gaps == {}


def test_a_collector_that_was_away_gets_what_it_missed(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 14. The broker kept only a part for it: it sees the gap from seq, asks, and has all."""
    broker.configure("max_queued_messages 10")
    broker.restart()
    with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        with ReferenceSubscriber(broker.port) as collector:
            publisher(summary(0))
            wait_until(lambda: collector.stream().upto == 1, 20)
        for number in range(1, 80):
            publisher(summary(number))
        wait_until(lambda: publisher._courier.outbox.idle, 20)
        with ReferenceSubscriber(broker.port) as late:
            # It knows from its database that it has window 1, and hears of window 81.
            stream = late.streams["fer", publisher._spool.epoch]
            stream.windows[1], stream.root = collector.stream().windows[1], ROOT
            publisher(summary(80))
            wait_until(lambda: len(stream.windows) == 81, 30, "the resend heals it")
            assert late.resends >= 1
            assert stream.gaps == {}


@contextmanager
def _five_delivered(broker: Mosquitto, state: Path) -> Iterator[tuple[ReferenceSubscriber, Publisher]]:
    """A collector that has acknowledged the five windows of an agent, and the agent."""
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=state) as publisher,
    ):
        for number in range(5):
            publisher(summary(number))
        wait_until(lambda: publisher._spool.depth()[0] == 0, 60)
        yield collector, publisher


def test_what_is_not_kept_any_more_is_declared(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 14. A resend for windows that the agent gave up long ago: a gap event, so that the collector moves on."""
    with _five_delivered(broker, tmp_path) as (collector, _):
        collector.publish(f"{ROOT}/cmd/resend", b'{"from": 2, "to": 4}', ResponseTopic=f"{ROOT}/rsp/resend")
        wait_until(lambda: any(e["kind"] == "gap" for e in collector.payloads("event")), 60)
        (gap,) = [e for e in collector.payloads("event") if e["kind"] == "gap"]
        assert (gap["from"], gap["to"], gap["reason"]) == (2, 4, "not_kept")
        wait_until(lambda: collector.payloads("rsp/resend"), 60)
        assert collector.payloads("rsp/resend")[0]["result"]["missing"] == [[2, 4]]


def test_a_restored_card_loses_no_window(broker: Mosquitto, tmp_path: Path) -> None:
    """The state folder is put back to an earlier day: the collector has other windows under the numbers that come next,
    and gets the new ones all the same, under a new epoch."""
    state, backup = tmp_path / "state", tmp_path / "backup"
    with ReferenceSubscriber(broker.port) as collector:

        def run(*numbers: int) -> None:
            wanted, clock = settings(broker.port), media_clock(0)
            with Publisher(wanted, MADE_BY, pace=FAST, clock=clock, state_dir=state) as publisher:
                for number in numbers:
                    publisher(summary(number))
                wait_until(lambda: {60_000 * n for n in numbers} <= _starts(collector), 20, "all of them")
                wait_until(lambda: max(s.upto for s in collector.streams.values()) >= 3, 60)
                time.sleep(0.3)  # the newest ack reaches the broker

        run(0, 1, 2)
        shutil.copytree(state, backup)
        run(3, 4, 5, 6, 7)
        shutil.rmtree(state)
        backup.rename(state)
        run(8, 9)
    assert len(collector.streams) == 2


def _starts(collector: ReferenceSubscriber) -> set[int]:
    """When the windows that a collector has stored began, in milliseconds: another one for each."""
    return {window["start_ms"] for stream in collector.streams.values() for window in list(stream.windows.values())}


def test_numbers_that_no_window_had_are_never_declared(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 14. A resend far beyond the newest window is answered as far as there are windows, or refused: the
    collector's ack stays at the newest window, and what comes later still counts."""
    with _five_delivered(broker, tmp_path) as (collector, publisher):
        for first in (4, 6):
            collector.publish(f"{ROOT}/cmd/resend", b'{"from": %d, "to": 50000}' % first)
        wait_until(lambda: len(collector.payloads("rsp/resend")) == 2, 60)
        told, refused = collector.payloads("rsp/resend")
        assert (told["result"]["to"], told["result"]["missing"]) == (5, [[4, 5]])
        assert refused["error"] == "expected from <= 5, the newest number of this epoch, got 6"
        publisher(summary(5))
        wait_until(lambda: publisher._spool.depth()[0] == 0, 20, "the ack of a later window is taken")
        assert {(e["from"], e["to"]) for e in collector.payloads("event") if e["kind"] == "gap"} == {(4, 5)}


def test_a_second_delivery_is_the_same_window(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 16. A resend brings the same window again: same key, same content but for `replay`."""
    with (
        ReferenceSubscriber(broker.port, acks=False) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        for number in range(5):
            publisher(summary(number))
        wait_until(lambda: len(collector.stream().windows) == 5, 20)
        collector.publish(f"{ROOT}/cmd/resend", b'{"from": 1, "to": 5}')
        wait_until(lambda: collector.duplicates == 5, 20)
        assert collector.conflicts == []
        late = [w for w in collector.payloads("window") if w["replay"]]
        assert [w["seq"] for w in late] == [1, 2, 3, 4, 5]


def test_the_will_speaks_for_an_agent_that_was_killed(broker: Mosquitto, tmp_path: Path) -> None:
    """SIGKILL: about 10 s later the retained status says `lost`, with the session of the last birth."""
    with ReferenceSubscriber(broker.port) as collector, Nursery() as nursery:
        pid = nursery.start(broker.port, tmp_path / "state", tmp_path / "notes", 0.05)
        wait_until(lambda: collector.payloads("status"), 20)
        nursery.end(pid, signal.SIGKILL)
        wait_until(lambda: collector.newest("status").get("state") == "lost", 30, "the will")
        birth, will = collector.payloads("status")[0], collector.payloads("status")[-1]
        assert (birth["session"], birth["boot_id"]) == (will["session"], will["boot_id"])


def test_a_clean_stop_says_goodbye(broker: Mosquitto, tmp_path: Path) -> None:
    """The last status is `disconnected`, and no will follows."""
    with ReferenceSubscriber(broker.port) as collector:
        with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
            publisher(summary(0))
        wait_until(lambda: collector.newest("status").get("state") == "disconnected", 60)
        assert len(collector.stream().windows) == 1


def rooms(topics: Iterable[str]) -> set[str]:
    return {topic.split("/")[3] for topic in topics if topic.startswith("fer/")}


def test_topics_of_an_earlier_name_are_cleared(broker: Mosquitto, tmp_path: Path) -> None:
    """After a move to another room, the retained messages under the old one are gone from the broker."""
    old = settings(broker.port, home_assistant=True)
    with Publisher(old, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        publisher(summary(0))
        assert publisher.wait_connected(10)
    moved = old.model_copy(update={"agent": old.agent.model_copy(update={"room": "other"})})
    with Publisher(moved, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        publisher(summary(1))
        wait_until(lambda: rooms(json.loads((tmp_path / "retained.json").read_text())) == {"other"}, 60)
        with ReferenceSubscriber(broker.port, acks=False) as newcomer:
            wait_until(lambda: newcomer.payloads("meta"), 60)
            time.sleep(0.5)
            assert rooms(topic for topic, body, _ in newcomer.log if body) == {"other"}
