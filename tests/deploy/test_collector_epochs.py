"""An agent whose spool was lost: windows of two epochs come at once, and none is given up that still exists."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from deploy.collector.bench.lessons import topic_of, window_of
from deploy.collector.broker import Address, Broker, Delivery
from deploy.collector.ingest import Ingest
from deploy.collector.messages import parse_message
from deploy.collector.store import Store
from deploy.collector.streams import REORDER_S, RETRY_S, SILENCE_S
from deploy.collector.tally import Tally
from tests.deploy.conftest import NOW_MS, Room, collecting, count, wait_for

OLD, NEW = "old", "new"


class Line(Broker):
    """The broker's side without a broker: what was asked and acknowledged."""

    def __init__(self) -> None:
        super().__init__(Address())
        self.connected = self.hears_windows = True
        self.asked: list[tuple[int, int]] = []
        self.acks: list[tuple[str, int]] = []
        self.questions: list[bytes] = []

    def ask_resend(self, source: Any, first: int, last: int) -> bytes:
        self.asked.append((first, last))
        self.questions.append(b"question %d" % len(self.questions))
        return self.questions[-1]

    def publish_ack(self, source: Any, epoch: str, upto: int) -> None:
        self.acks.append((epoch, upto))


class Desk:
    """A collector whose clock we turn."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.line, self.at = engine, Line(), 0.0
        now_s = NOW_MS / 1000 + 0.25
        self._ingest = Ingest(self.line, Store(engine), Tally(), clock=lambda: now_s, monotonic=lambda: self.at)

    def hear(self, kind: str, body: bytes, **more: Any) -> None:
        assert self._ingest._take_in([Delivery(topic_of(1, kind), body, 1, 1, 1, **more)])

    def windows(self, epoch: str, *seqs: int) -> None:
        for seq in seqs:
            self.hear("window", window_of(1, seq, NOW_MS + seq * 60_000, epoch=epoch))

    def status(self, newest: int, *, state: str = "ready", session: int = 1, epoch: str = NEW, **more: Any) -> None:
        body = {"state": state, "session": session, "epoch": epoch, "newest_seq": newest}
        self.hear("status", json.dumps(body).encode(), **more)

    def answer(self, question: bytes) -> None:
        self.hear("rsp/resend", b'{"cmd": "resend", "ok": true}', correlation=question)

    def works(self) -> None:
        """A window comes that is refused: the topic works, and nothing is stored."""
        self.hear("window", b"{}")

    def wait(self, seconds: float) -> None:
        """Let time go by, with a round a second, as a collector has."""
        for _ in range(round(seconds)):
            self.at += 1
            self._ingest._tick()

    def lost(self) -> list[tuple[str, int, int]]:
        query = "SELECT epoch, from_seq, to_seq FROM gaps JOIN streams ON streams.id = stream_id ORDER BY 1, 2"
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    from deploy.collector.database import open_database

    engine = open_database(sqlite_url)
    yield Desk(engine)
    engine.dispose()


def test_a_late_window_of_an_older_epoch_gives_nothing_up(desk: Desk) -> None:
    """Windows of both epochs come in turns: the holes of the current one are asked for, none is called lost."""
    desk.status(50)
    desk.windows(OLD, 7)
    desk.wait(REORDER_S + 1)
    desk.windows(NEW, 51)
    desk.windows(OLD, 8)
    desk.wait(RETRY_S[0] + 1)
    assert set(desk.line.asked) == {(1, 50)}
    assert (desk.lost(), desk.line.acks) == ([], [])


def test_both_epochs_are_acknowledged_and_the_current_one_last(desk: Desk) -> None:
    """An older epoch's windows are acknowledged under its name; what stays retained is the current epoch's."""
    desk.status(0)
    desk.windows(NEW, 1, 2)
    desk.windows(OLD, 1, 2, 3)
    desk.wait(2)
    desk.windows(OLD, 4)
    desk.wait(2)
    assert desk.line.acks == [(OLD, 3), (NEW, 2), (OLD, 4), (NEW, 2)]


def test_a_hole_of_an_older_epoch_waits_for_the_next_connect(desk: Desk) -> None:
    """`resend` cannot name an older epoch: its hole is given up only when a new connect's backlog has not filled it."""
    desk.status(0)
    desk.windows(OLD, 1, 4)
    desk.wait(4 * SILENCE_S)
    assert (desk.lost(), desk.line.acks, desk.line.asked) == ([], [(OLD, 1)], [])
    desk.status(0, session=2)
    desk.windows(OLD, 4)
    desk.wait(SILENCE_S / 2)
    assert desk.lost() == []
    desk.wait(2 * SILENCE_S)
    assert (desk.lost(), desk.line.acks[-1]) == ([(OLD, 2, 3)], (OLD, 4))


def test_the_next_connect_fills_a_hole_of_an_older_epoch(desk: Desk) -> None:
    """What a killed collector took with it comes again with the next backlog, and is stored."""
    desk.status(0)
    desk.windows(OLD, 1, 4)
    desk.wait(SILENCE_S)
    desk.status(0, session=2)
    desk.windows(OLD, 2, 3, 4)
    desk.wait(2 * SILENCE_S)
    assert (desk.lost(), desk.line.acks[-1]) == ([], (OLD, 4))


@pytest.mark.parametrize("end", ["lost", "disconnected"])
def test_an_agent_that_is_gone_again_proves_nothing(desk: Desk, end: str) -> None:
    """A connect that ended before its backlog came gives no hole up."""
    desk.status(0)
    desk.windows(OLD, 1, 4)
    desk.wait(SILENCE_S)
    desk.status(0, session=2)
    desk.status(0, session=2, state=end)
    desk.wait(3 * SILENCE_S)
    assert desk.lost() == []


def test_a_will_does_not_bring_an_epoch_back(desk: Desk) -> None:
    """A will was written at the connect: its epoch may be older than the one in use."""
    desk.status(5)
    desk.status(9, state="lost", epoch=OLD)
    desk.windows(NEW, 1, 5)
    desk.wait(REORDER_S + 1)
    assert desk.line.asked == [(2, 4)]


def test_only_answers_to_own_questions_count(desk: Desk) -> None:
    """Of three collectors in a group each hears the answers to all; a hole is given up after three of its own."""
    desk.windows(NEW, 1, 5)
    desk.wait(REORDER_S + 1)
    for other in range(9):
        desk.answer(b"of another %d" % other)
    for pause in RETRY_S[:3]:
        for _ in range(3):
            desk.answer(desk.line.questions[-1])  # a second copy of an answer is no second answer
        desk.works()
        assert desk.lost() == []
        desk.wait(pause + 1)
    assert (desk.lost(), desk.line.asked) == ([(NEW, 2, 4)], [(2, 4)] * 3)


def answered_in_time(desk: Desk, seconds: float, each_second: Callable[[], None] = lambda: None) -> None:
    """Let time go by; every question is answered at once."""
    for _ in range(round(seconds)):
        for question in desk.line.questions[-1:]:
            desk.answer(question)
        each_second()
        desk.wait(1)


def test_answers_without_any_window_prove_nothing(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Status and answers come and the window topic brings nothing, because the broker denies it to the one or the
    other: nothing is called lost or acknowledged, and the log says once what to allow."""
    desk.status(5)
    answered_in_time(desk, 3 * sum(RETRY_S))
    assert (desk.lost(), desk.line.acks) == ([], [])
    assert len(desk.line.asked) > 5
    assert caplog.text.count("event=windows.unheard") == 1
    assert '"topic read fer/v1/+/+/+/window" to the anonymous user' in caplog.text
    desk.windows(NEW, *range(1, 6))
    desk.wait(2)
    assert desk.line.acks == [(NEW, 5)]


def test_what_was_asked_while_the_topic_was_dead_does_not_count_later(desk: Desk) -> None:
    """The window topic works again: of the questions before that, the open one alone can count."""
    desk.status(5)
    answered_in_time(desk, REORDER_S + sum(RETRY_S[:4]) - 1)
    desk.windows(NEW, 5)
    answered_in_time(desk, RETRY_S[4])
    assert (desk.lost(), len(desk.line.asked)) == ([], 5)
    desk.windows(NEW, *range(1, 5))
    desk.wait(2)
    assert desk.line.acks == [(NEW, 5)]


def test_what_waits_behind_a_long_backlog_is_not_given_up(desk: Desk) -> None:
    """An agent answers at once and sends behind what waits already, twenty a second: while late windows come, no
    answer counts, however many of them there are."""
    desk.status(5000)
    desk.windows(NEW, 1)
    seq = iter(range(3, 5001, 20))

    def backlog() -> None:
        at = next(seq)
        desk.hear("window", window_of(1, at, NOW_MS + at, epoch=NEW, replay=True))

    answered_in_time(desk, 240, backlog)
    assert (desk.lost(), {first for first, _ in desk.line.asked}) == ([], {2})
    desk.windows(NEW, 2)
    desk.wait(2)
    assert desk.line.acks[-1] == (NEW, 3)


def test_an_agent_that_answers_nothing_has_lost_nothing(desk: Desk) -> None:
    """Its windows come and no answer does: the hole is asked for again and again, and never given up."""
    desk.windows(NEW, 1, 5)
    for _ in range(round(REORDER_S + sum(RETRY_S[:4])) + 5):
        desk.works()
        desk.wait(1)
    assert (desk.lost(), set(desk.line.asked), len(desk.line.asked)) == ([], {(2, 4)}, 5)


def test_once_the_backlog_is_through_answers_count_again(desk: Desk) -> None:
    """A late window keeps answers from counting for some seconds, not for ever."""
    desk.windows(NEW, 1, 5)
    desk.hear("window", window_of(1, 4, NOW_MS + 4, epoch=NEW, replay=True))
    answered_in_time(desk, REORDER_S + sum(RETRY_S[:3]) + 3, desk.works)
    assert desk.lost() == [(NEW, 2, 3)]


def test_answers_that_came_while_the_collector_stood_still_prove_nothing(desk: Desk) -> None:
    """A collector that was busy or suspended for a minute finds the answer before the windows that wait at the broker:
    it asks again, as often as that happens."""
    desk.windows(NEW, 1, 5)
    desk.wait(REORDER_S + 1)
    for number, pause in enumerate((*RETRY_S, *RETRY_S[-1:] * 2), 2):
        desk.answer(desk.line.questions[-1])
        desk.works()
        desk.at += pause + 31
        desk._ingest._tick()
        assert (desk.lost(), len(desk.line.asked)) == ([], number)


def test_nothing_is_asked_or_given_up_while_windows_are_denied(desk: Desk) -> None:
    """A broker that refused the subscription to windows: no question, no answer that counts, nothing lost."""
    desk.windows(NEW, 1, 5)
    desk.windows(OLD, 1, 4)
    desk.line.hears_windows = False
    desk.status(5)
    desk.wait(SILENCE_S)
    desk.status(5, session=2)
    answered_in_time(desk, 2 * SILENCE_S, desk.works)
    assert (desk.lost(), desk.line.asked) == ([], [])


def test_an_older_epoch_of_which_nothing_can_come_is_not_given_up(desk: Desk) -> None:
    """After a connect without any window, of whatever epoch, the topic may be dead: an older hole stays."""
    desk.status(0)
    desk.windows(OLD, 1, 4)
    desk.wait(SILENCE_S)
    desk.status(0, session=2)
    desk.wait(4 * SILENCE_S)
    assert desk.lost() == []


def test_a_hole_that_grew_is_given_up_as_far_as_was_asked(desk: Desk) -> None:
    """Windows that went missing after the last question are asked for, not called lost with the others."""
    desk.status(2)
    desk.windows(NEW, 1)
    desk.wait(REORDER_S + 1)
    for pause in RETRY_S[:3]:
        desk.answer(desk.line.questions[-1])
        desk.works()
        desk.status(2 if pause < RETRY_S[2] else 9)
        desk.wait(pause + 1)
    assert desk.lost() == [(NEW, 2, 2)]
    desk.wait(REORDER_S + 1)
    assert desk.line.asked[-1] == (3, 9)


def test_only_what_was_asked_for_is_given_up(desk: Desk) -> None:
    """A hole longer than one question is given up only as far as the questions went."""
    desk.windows(NEW, 5000)
    answered_in_time(desk, REORDER_S + sum(RETRY_S[:3]) + 3, desk.works)
    assert desk.lost() == [(NEW, 1, 1000)]


def test_a_row_says_when_it_was_received(desk: Desk) -> None:
    """By the collector's own clock: a window, a loss that was declared, and one that was given up."""
    desk.windows(NEW, 1, 5)
    desk.hear("event", json.dumps({"kind": "gap", "epoch": NEW, "from": 2, "to": 2, "reason": "not_kept"}).encode())
    answered_in_time(desk, REORDER_S + sum(RETRY_S[:3]) + 3, desk.works)
    with desk.engine.connect() as connection:
        for table, rows in (("windows", 2), ("gaps", 2)):
            received = list(connection.scalars(text(f"SELECT received_ms FROM {table}")))
            assert received == [NOW_MS + 250] * rows, table


@pytest.mark.parametrize("poison", [1, 4, 7])
def test_what_the_database_cannot_take_is_refused_alone(desk: Desk, poison: int) -> None:
    """Waiting would not help: one window of a batch that breaks a rule of the database is counted as refused and asked
    for again; the others are stored and confirmed."""
    with desk.engine.begin() as connection:
        rule = f"WHEN NEW.seq = {poison} BEGIN SELECT RAISE(ABORT, 'a rule of its owner'); END"
        connection.execute(text(f"CREATE TRIGGER rule BEFORE INSERT ON windows {rule}"))
    bodies = [window_of(1, seq, NOW_MS + seq, epoch=NEW) for seq in range(1, 8)]
    assert desk._ingest._take_in([Delivery(topic_of(1), body, 1, 1, 1) for body in bodies])
    told = desk._ingest._tally.snapshot()
    assert (told["received"], told["stored"], desk._ingest._tally.refused()) == (7, 6, 1)
    assert (count(desk.engine), desk._ingest.storing) == (6, True)
    desk.status(7)
    desk.wait(REORDER_S + 1)
    assert desk.line.asked == [(poison, poison)]


@pytest.mark.parametrize("at_once", [1, 200])
def test_what_another_member_stored_is_not_logged_as_lost(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Of declared losses the log counts what no collector of the group has."""
    monkeypatch.setattr("deploy.collector.losses._AT_ONCE", at_once)
    desk.windows(NEW, 1, 5, 8)
    desk.windows(OLD, 1, 5)
    others = [(1, OLD, s) for s in (3, 4)] + [(1, NEW, s) for s in (2, 6, 7, 9)] + [(2, NEW, s) for s in (2, 3)]
    rest = [parse_message(topic_of(r), window_of(r, s, NOW_MS + s, epoch=e)) for r, e, s in others]
    Store(desk.engine).write(rest, 1)
    for epoch, first, last in ((NEW, 2, 4), (NEW, 6, 7), (OLD, 2, 4)):
        body = {"kind": "gap", "epoch": epoch, "from": first, "to": last, "reason": "not_kept"}
        desk.hear("event", json.dumps(body).encode())
    desk.wait(1)
    counts = [r.getMessage().partition("count=")[2] for r in caplog.records if "event=windows.lost" in r.getMessage()]
    assert sorted(counts) == ["1", "2"]
    assert sorted(desk.line.acks) == [(NEW, 8), (OLD, 5)]


def test_three_members_give_a_hole_up_only_after_three_rounds(broker_port: int, postgres_url: str) -> None:
    """With three real collectors in a group and an agent that answers without the windows, one round is not enough."""
    from deploy.collector.database import open_database

    engine, room = open_database(postgres_url), Room(broker_port)
    share = {"share": "school"}
    with (
        collecting(broker_port, engine, name="a", **share),
        collecting(broker_port, engine, name="b", **share),
        collecting(broker_port, engine, name="c", **share),
    ):
        room.publish("status", {"state": "ready", "session": 1, "epoch": "1", "newest_seq": 2}, retain=True)
        wait_for(lambda: len(room.asked) >= 3)
        wait_for(lambda: len(room.asked) >= 6, 25)
        assert count(engine, "SELECT count(*) FROM gaps") == 0
    room.close()
    engine.dispose()
