"""What the courier decides, on a line that notes what was sent: the rest is tried with real brokers."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.delivery import discovery, link
from agent.delivery.births import Births
from agent.delivery.courier import Courier
from agent.delivery.memory import MemorySpool
from agent.delivery.news import Closing, Parcel, SetMeta, SetState, Stop
from agent.delivery.pace import Pace
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from agent.errors import ConfigError, FerAgentError
from tests.mqtt_world import MADE_BY, settings, speaker

TOPICS = speaker().topics
SOON_S, HERD_S = 1.0, 1e12
PACE = Pace(rate=1e9, spread_s=HERD_S, wait_min_s=SOON_S, wait_max_s=SOON_S, grace_s=0.0, fresh_s=1e9, drain_s=1e6)
"""A herd is spread over ages: whoever is one of it is known by that."""


class Line(link.Link):
    """The network's side without a network."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.sent: list[tuple[str, bytes, dict[str, Any]]] = []
        self.closed: list[bool] = []
        self.count = 0

    def open(self, notify: Any) -> None:
        """It is there at once; its welcome is a note, as that of a real one."""

    def publish(self, topic: str, payload: bytes, **more: Any) -> int:
        self.sent.append((topic, payload, more))
        self.count += 1
        return self.count

    def subscribe(self, topics: list[str]) -> None:
        """Nothing is granted unless a test says so."""

    def close(self, *, fire_will: bool = False) -> None:
        self.closed.append(fire_will)

    def topics(self) -> list[str]:
        """What was published so far, by the last part of its topic; forgotten then."""
        told = [topic.removeprefix(TOPICS("")) for topic, _, _ in self.sent]
        self.sent.clear()
        return told


class Absent(Line):
    def open(self, notify: Any) -> None:
        raise ConnectionRefusedError(111, "Connection refused")


class World:
    """A courier, its spool, and its line of the moment."""

    def __init__(
        self,
        kind: Callable[..., Line] = Line,
        spool: SharedSpool | None = None,
        pace: Pace = PACE,
        kept: Path | None = None,
        **mqtt: Any,
    ) -> None:
        self.spool, wanted = spool or SharedSpool(), settings(1, **mqtt).mqtt
        self.errors: list[FerAgentError] = []
        births = Births(speaker(), MADE_BY, self.spool, home_assistant=wanted.home_assistant)
        of: tuple[Any, ...] = (wanted, speaker(), births, self.spool)
        more: dict[str, Any] = {"pace": pace, "handlers": {}, "retained": RetainedTopics(kept), "connect": kind}
        self.courier = Courier(*of, **more, on_fatal=self.errors.append)

    @property
    def line(self) -> Line:
        assert isinstance(self.courier._link, Line)
        return self.courier._link

    def tell(self, news: Any) -> None:
        self.courier._take(link.Note(self.line, news))

    def welcome(self, max_packet: int | None = None) -> None:
        self.courier._next_try = 0.0
        self.courier.step()
        self.tell(link.Connected(max_packet))

    def window(self, length: int = 0) -> None:
        body = {"seq": 1, "pad": "x" * length}
        self.courier._take(Closing(self.spool.add(lambda epoch, seq: json.dumps(body | {"seq": seq}).encode())))


@pytest.mark.parametrize(("welcomed", "by_broker"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_herd_is_whom_the_broker_sent_away(*, welcomed: bool, by_broker: bool) -> None:
    """A broker that ends a connection ended everybody's: these come back spread. Whom the network lost, or who was
    never let in, tries again soon."""
    world = World()
    world.courier.step()
    if welcomed:
        world.tell(link.Connected(None))
    world.tell(link.Closed("gone", by_broker=by_broker))
    world.window()
    assert (world.courier.step() > SOON_S) == (welcomed and by_broker)
    assert (world.courier.away, world.courier._link) == ("gone", None)


def test_the_pause_grows_until_a_welcome() -> None:
    """Twice as long with each try that failed, from the start again after a connection; and it is known when there is
    one that brings commands."""
    world = World(Absent, pace=Pace(wait_min_s=1.0, wait_max_s=1e6))

    def pause() -> tuple[float, float]:
        before, world.courier._next_try = time.monotonic(), 0.0
        world.courier.step()
        return world.courier._next_try - time.monotonic(), world.courier._next_try - before

    for longest in (1.0, 2.0, 4.0, 8.0):
        least, most = pause()
        assert least <= longest <= 2 * most
    world.courier._make_link = Line
    world.welcome()
    assert (world.courier.away, world.courier.connected.is_set()) == (None, False)
    world.tell(link.Granted((1, 1, 1)))
    assert world.courier.connected.is_set()
    world.tell(link.Closed("gone", by_broker=False))
    assert not world.courier.connected.is_set()
    world.courier._make_link = Absent
    least, most = pause()
    assert least <= 2.0 <= 2 * most, "the end of the connection counts as the first"


def test_an_absent_broker_is_tried_again_soon() -> None:
    """Nobody is there to be overrun; the reason is kept for the status."""
    world = World(Absent)
    for _ in range(3):
        world.courier._next_try = 0.0
        assert 0 <= world.courier.step() <= SOON_S
        assert "refused" in world.courier.away


def test_who_has_nothing_to_do_sleeps() -> None:
    """Connected, all answered, nothing waits: only news wake the thread; with a stop there is nothing left to do."""
    world = World()
    world.welcome()
    for mid in range(1, len(world.line.sent) + 1):
        world.tell(link.Answered(mid, 0, "Success"))
    assert world.courier.step() is None
    world.courier._take(Stop(failed=False))
    assert world.courier.step() == 0.0


def test_events_wait_for_a_connection() -> None:
    """The newest hundred, oldest first and behind the births; what has no assurance does not wait. Of what is under way
    when a connection ends, events come again, each once, and births are made anew."""
    world = World()
    world.courier.step()
    for number in range(103):
        world.courier._take(Parcel(TOPICS("event"), b"%d" % number))
        world.courier._take(Parcel(TOPICS("health"), b"{}", qos=0))
    world.welcome()
    told = [body for topic, body, _ in world.line.sent if topic == TOPICS("event")]
    assert told == [b"%d" % number for number in range(3, 103)]
    assert [topic for topic, _, _ in world.line.sent[:2]] == [TOPICS("status"), TOPICS("meta")]
    world.courier._take(Parcel(TOPICS("event"), b"103"))
    for mid in (*range(3, 50), *range(51, 104)):
        world.tell(link.Answered(mid, 0, "Success"))
    world.tell(link.Closed("gone", by_broker=False))
    world.welcome()
    assert world.line.sent[-1][:2] == (TOPICS("event"), b"50")
    assert world.line.topics() == ["status", "meta", "event"]


def test_the_newest_window_is_kept_by_the_broker_for_three_windows() -> None:
    """`last` is retained, without assurance and with an expiry; a late window and a gap do not become it."""
    world = World()
    world.welcome()
    world.line.topics()
    world.window()
    (_, window, _), (topic, last, options) = world.line.sent
    assert (topic, last) == (TOPICS("last"), window)
    assert options == {"qos": 0, "retain": True, "expiry_s": 180}
    assert world.line.topics() == ["window", "last"]
    world.tell(link.Answered(3, 0, "Success"))
    assert list(world.courier.resend(1, 1)) == [1]
    world.courier.step()
    (late,) = [json.loads(body) for _, body, _ in world.line.sent]
    assert late == json.loads(window) | {"replay": True}
    assert world.line.topics() == ["window"]
    memory = MemorySpool()
    memory.add_gap(1, 2, "crash")
    world = World(spool=SharedSpool(lambda: memory))
    world.welcome()
    world.courier.step()
    at_s = json.loads(world.line.sent[-1][1])["at_ms"] / 1000
    assert abs(at_s - time.time()) < 86_400
    assert world.line.topics() == ["status", "meta", "event"]


def test_what_runs_and_how_it_is_are_told_when_they_change() -> None:
    """A new model is a new meta and announcement, a new state a status; the same state again is nothing."""
    world = World(home_assistant=True)
    world.welcome()
    world.line.topics()
    config = discovery.topic(TOPICS)
    world.courier.inbox.put(SetMeta(replace(MADE_BY, model_id="another")))
    world.courier.inbox.put(SetState("paused", "soon"))
    world.courier.step()
    assert json.loads(world.line.sent[0][1])["model"]["id"] == "another"
    assert world.line.topics() == ["meta", config, "status"]
    for reason in ("a", "a", "b"):
        world.courier._take(SetState("paused", reason))
    assert world.line.topics() == ["status", "status"]
    for says in (b"offline", b"online"):
        world.tell(link.Received(discovery.BIRTH, says, False, None, None))
    assert world.line.topics() == [config]


@pytest.mark.parametrize("limit", [None, 10_000, 100])
def test_a_limit_that_was_guessed_holds_for_the_next_connection(limit: int | None) -> None:
    """A broker that answered an unknown size with words of its own takes less than that: the smaller limit counts,
    also where nothing was sent after it, until a connection ends in another way."""
    world = World()
    world.welcome()
    size = link.size(*world.line.sent[0][:2])
    for _ in range(2):
        world.tell(link.Granted((1, 1, 1)))
        world.tell(link.Closed("130", by_broker=False, garbled=True))
        world.courier.step()
        world.welcome(limit)
        assert world.courier._under_way.limit == min(size - 1, limit or size)
        assert "status" not in world.line.topics(), "it is what was too large"
        world.courier._under_way._sent.clear()
    world.tell(link.Closed("gone", by_broker=False))
    world.welcome(limit)
    assert world.courier._under_way.limit == limit


def test_a_stop_waits_for_the_welcome_and_for_all_answers() -> None:
    """An agent that stops soon after its start, or with a window under way, still says it all."""
    world = World()
    world.courier.step()
    world.courier._take(Stop(failed=False))
    assert world.courier.step() > 0, "not welcome yet"
    world.tell(link.Connected(None))
    world.window()
    assert world.courier.step() > 0, "no answer yet"
    for mid in range(1, len(world.line.sent) + 1):
        world.tell(link.Answered(mid, 0, "Success"))
    assert world.courier.step() == 0


@pytest.mark.parametrize("failed", [False, True])
def test_a_stop_says_goodbye_and_a_failure_leaves_it_to_the_will(*, failed: bool) -> None:
    """Through the thread: the last status is "disconnected", and the will does not come; or the other way round."""
    world = World()
    world.welcome()
    line = world.line
    line.topics()
    world.courier.inbox.put(Stop(failed=failed))
    world.courier.thread.start()
    world.courier.thread.join(60)
    assert not world.courier.thread.is_alive()
    assert [json.loads(body)["state"] for _, body, _ in line.sent] == ([] if failed else ["disconnected"])
    assert (line.closed, world.courier._link, world.errors) == ([failed], None, [])


def test_without_a_connection_a_stop_ends_at_once() -> None:
    """What was not sent is kept in the spool; nobody waits for a broker that is not there."""
    world = World(Absent)
    world.window()
    world.courier.inbox.put(Stop(failed=False))
    world.courier.thread.start()
    world.courier.thread.join(60)
    assert not world.courier.thread.is_alive()
    assert (world.spool.depth()[0], world.errors) == (1, [])


def test_a_fatal_error_is_told_and_nothing_more_is_said() -> None:
    """Of two agents with one id the one that gives way hands the name back without a word, and without its will."""
    world, error = World(), ConfigError("two agents")
    world.welcome()
    line = world.line
    line.topics()
    world.courier.fatal(error)
    assert world.courier.step() == 0
    world.courier.thread.start()
    world.courier.thread.join(60)
    assert not world.courier.thread.is_alive()
    assert (world.errors, line.sent, line.closed) == ([error], [], [False])


def test_an_unforeseen_error_is_told_and_fires_the_will() -> None:
    """An agent whose delivery died must not look alive, neither to its service nor to the broker."""

    class Broken(Line):
        def publish(self, topic: str, payload: bytes, **more: Any) -> int:
            raise RuntimeError("unforeseen")

    world = World(Broken)
    world.courier.step()
    world.courier.inbox.put(link.Note(world.line, link.Connected(None)))
    world.courier.thread.start()
    world.courier.thread.join(60)
    assert [str(error) for error in world.errors] == ["delivery: RuntimeError: unforeseen"]
    assert world.line.closed == [True]


def test_an_abandoned_courier_lets_go_of_a_line_that_opens_late() -> None:
    """Whoever stopped it has gone on: a connection that the network grants after that is closed, not used."""

    class Late(Line):
        def open(self, notify: Any) -> None:
            world.courier.abandon()

    made: list[Line] = []

    def connect(*of: Any) -> Line:
        made.append(Late(*of))
        return made[-1]

    world = World(connect)
    assert world.courier.step() == 0
    assert (world.courier._link, [line.closed for line in made]) == (None, [[False]])


def test_what_is_larger_than_the_broker_takes_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """To the byte. A window is passed over and the status says so, once; a reply is lost, and nothing is wrong."""
    world, limit = World(), 2000
    world.welcome(limit)
    world.courier._take(SetState("ready", None))
    world.line.topics()
    world.window()
    room = limit - link.size(*world.line.sent[0][:2])
    world.window(room)
    assert world.line.topics() == ["window", "last"] * 2
    for _ in range(2):
        world.window(room + 1)
        (told,) = [json.loads(body) for _, body, _ in world.line.sent] or [None]
        assert told is None or (told["state"], "too few for window" in told["reason"]) == ("degraded", True)
        assert world.line.topics() == ([] if told is None else ["status"])
    assert told is None, "it is told once"
    assert world.courier._reception.poison == {2, 3}
    world.courier.requeue()
    world.courier.step()
    assert "window" not in world.line.topics()
    before = world.courier._births.now()
    reply = Parcel(TOPICS("rsp/ping"), b"{}", correlation=b"c" * limit)
    assert world.courier.post(reply) == 0
    assert (world.line.topics(), world.courier._births.now()) == ([], before)
    assert caplog.text.count("event=cmd.reply_too_large") == 1


def test_a_status_that_is_too_large_itself_is_not_sent_over_and_over() -> None:
    """Its own trouble is told by the log alone."""
    world = World()
    world.welcome(80)
    assert world.line.topics() == []
    assert world.courier._births.now().reason.count("too few for status") == 1


def test_what_an_earlier_name_left_at_the_broker_is_cleared(tmp_path: Path) -> None:
    """Each retained topic is remembered with its first message; those of another name are cleared after the births,
    until the broker has said so."""
    kept, old = tmp_path / "retained.json", "fer/v1/test/room/old/status"
    RetainedTopics(kept).add(old)
    world = World(kept=kept)
    for _ in range(2):
        world.welcome()
        assert [topic for topic, _, _ in world.line.sent].count(old) == 1
        topic, body, options = world.line.sent[-1]
        assert (topic, body, options["retain"]) == (old, b"", True)
        world.tell(link.Closed("gone", by_broker=False))
    world.welcome()
    world.tell(link.Answered(3, 0, "Success"))
    world.window()
    world.courier._take(Parcel(TOPICS("event"), b"{}"))
    assert RetainedTopics(kept).stale(set()) == sorted(TOPICS(name) for name in ("status", "meta", "last"))


@pytest.mark.parametrize(("fresh_s", "replay"), [(1e9, False), (-1.0, True)])
def test_a_window_of_before_the_connection_is_live_while_it_is_fresh(*, fresh_s: float, replay: bool) -> None:
    """What closed a moment ago moves live gauges; what is older waits for the retained ack, and comes as late."""
    world = World(pace=replace(PACE, fresh_s=fresh_s, grace_s=1e6))
    world.window()
    world.welcome()
    world.line.topics()
    wait = world.courier.step()
    assert world.line.topics() == ([] if replay else ["window", "last"])
    assert (wait is not None) == replay
    world.courier._pump(time.monotonic() + 2e6)
    assert [json.loads(body)["replay"] for _, body, _ in world.line.sent] == [True] * replay


def test_a_note_of_a_line_that_was_given_up_is_old_news() -> None:
    """The end of an earlier connection does not end this one."""
    world = World()
    world.welcome()
    old = world.line
    world.tell(link.Closed("gone", by_broker=False))
    world.welcome()
    world.courier._take(link.Note(old, link.Closed("gone", by_broker=False)))
    assert world.courier._up
    assert (old.closed, world.line.closed) == ([False], [])
