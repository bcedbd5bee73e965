"""What an agent declares lost, and what of it a collector has all the same."""

import json

import pytest
from sqlalchemy import Engine

from deploy.collector.bench.lessons import topic_of
from deploy.collector.history import History, Span
from deploy.collector.messages import Message, parse_message
from deploy.collector.store import Store
from tests.deploy.conftest import NOW_MS, Room, collecting, wait_for, window

EVER = Span(0, 2**53 - 1)


def gap(first: int, last: int, reason: str = "not_kept", epoch: str = "1") -> Message:
    body = {"kind": "gap", "epoch": epoch, "from": first, "to": last, "reason": reason, "at_ms": NOW_MS}
    return parse_message(topic_of(1, "event"), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("stored", "missing"),
    [([], [[(1, 20)]]), ([1, 2, 5, 20], [[(3, 4), (6, 19)]]), (list(range(1, 21)), [])],
)
def test_what_is_stored_is_not_told_as_lost(
    engine: Engine, stored: list[int], missing: list[list[tuple[int, int]]]
) -> None:
    """Of a declared loss the page is told what is not here, and nothing where all of it is."""
    Store(engine).write([*(window(1, seq) for seq in [*stored, 21]), gap(1, 20)], NOW_MS)
    events = History(engine).happenings(1, EVER)["events"]
    assert [event["missing"] for event in events] == missing


@pytest.mark.parametrize(
    ("stored", "missing"),
    [
        ([*range(1, 11), 15], [(11, 14), (16, 20)]),
        ([*range(1, 20)], [(20, 20)]),
        ([*range(2, 21)], [(1, 1)]),
        ([2, 4], [(1, 1), (3, 3), (5, 20)]),
        ([2, 4, 6, 8], [(1, 1), (3, 3), (5, 5)]),
    ],
)
def test_a_loss_of_many_parts_is_told_as_far_as_is_looked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, stored: list[int], missing: list[tuple[int, int]]
) -> None:
    """A stretch of windows counts as one, however long; behind the last stretch that is looked at nothing is called
    missing."""
    monkeypatch.setattr("deploy.collector.losses._MOST_PARTS", 3)
    Store(engine).write([*(window(1, seq) for seq in stored), gap(1, 20)], NOW_MS)
    (event,) = History(engine).happenings(1, EVER)["events"]
    assert event["missing"] == missing


def test_losses_in_more_epochs_than_are_asked_for_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loss is looked at in its own epoch; one that names none is believed."""
    monkeypatch.setattr("deploy.collector.losses._AT_ONCE", 2)
    stored = [window(1, seq, epoch=str(seq)) for seq in range(1, 6)]
    nameless = parse_message(topic_of(1, "event"), b'{"kind": "gap", "from": 1, "to": 2}')
    Store(engine).write([*stored, *(gap(seq, seq + 1, epoch=str(seq)) for seq in range(1, 6)), nameless], NOW_MS)
    told = {event["body"].get("epoch"): event["missing"] for event in History(engine).happenings(1, EVER)["events"]}
    assert told == {str(seq): [(seq + 1, seq + 1)] for seq in range(1, 6)} | {None: [(1, 2)]}


def test_a_loss_that_was_given_up_first_is_the_same_one(engine: Engine) -> None:
    """A range that was given up, then declared by its agent, and then came after all is told as neither."""
    store = Store(engine)
    store.write([window(1, 1), window(1, 4)], NOW_MS)
    store.write_lost(1, 2, 3, "unanswered", NOW_MS)
    store.write([gap(2, 3), window(1, 2), window(1, 3)], NOW_MS)
    assert History(engine).happenings(1, EVER) == {"events": [], "lost": []}


def test_another_epochs_windows_fill_no_gap(engine: Engine) -> None:
    """A number of one epoch is not that of another."""
    Store(engine).write([*(window(1, seq) for seq in range(1, 5)), gap(1, 4, epoch="2")], NOW_MS)
    (event,) = History(engine).happenings(1, EVER)["events"]
    assert event["missing"] == [(1, 4)]


def test_a_range_declared_in_two_epochs_is_two_losses(engine: Engine) -> None:
    """The same numbers declared in two epochs: what is stored of one does not make the other's loss smaller."""
    stored = [window(1, seq, epoch="2") for seq in range(1, 5)]
    Store(engine).write([gap(1, 4, epoch="1"), gap(1, 4, epoch="2"), *stored], NOW_MS)
    (event,) = History(engine).happenings(1, EVER)["events"]
    assert (event["body"]["epoch"], event["missing"]) == ("1", [(1, 4)])


def test_what_came_after_it_was_given_up_is_not_told_as_lost(engine: Engine) -> None:
    """A hole that was given up, of which a part came late, is told as the rest."""
    store = Store(engine)
    store.write([window(1, 1), window(1, 9)], NOW_MS)
    store.write_lost(1, 2, 8, "unanswered", NOW_MS)
    store.write([window(1, 4)], NOW_MS)
    assert History(engine).happenings(1, EVER)["lost"] == [
        {"reason": "unanswered", "at": NOW_MS, "missing": [(2, 3), (5, 8)]}
    ]


def test_a_declared_loss_is_named_in_the_log_once(
    broker_port: int, engine: Engine, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """Windows that a declaration leaves the collector without are a line in the log, with their number; the same
    declaration again is none, and neither is one about windows that are stored."""
    with collecting(broker_port, engine):
        for _ in range(2):
            room.send(1, 4, 9)
            for first, last in ((1, 1), (2, 8)):
                room.publish("event", {"kind": "gap", "epoch": "1", "from": first, "to": last, "reason": "not_kept"})
            wait_for(lambda: room.acked == 9)
        wait_for(lambda: "event=windows.lost" in caplog.text)
    lost = [r.getMessage() for r in caplog.records if "windows.lost" in r.getMessage()]
    assert lost == ["event=windows.lost agent=school-0/room-2/fer-1 count=6"]
