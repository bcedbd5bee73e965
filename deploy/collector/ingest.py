"""The loop of the collector: take a batch → check → store → confirm; every second order, ask and acknowledge.

Law: nothing is confirmed or acknowledged before the database has committed it. While the database is away the loop
waits with its batch in hand; the broker, and behind it every agent's spool, keeps the rest.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from agent.errors import first_line
from deploy.collector.broker import EVERY_WINDOW, Broker, Delivery
from deploy.collector.losses import count_stored
from deploy.collector.messages import (
    Cleared,
    Message,
    Refused,
    Reply,
    Source,
    Status,
    Window,
    parse_message,
    split_topic,
)
from deploy.collector.progress import Progress
from deploy.collector.questions import Questions
from deploy.collector.rollup import refresh_hours
from deploy.collector.store import Store, Written
from deploy.collector.streams import Hole, Streams
from deploy.collector.tally import Tally

log = logging.getLogger("fer.collector")

BATCH: Final = 1000
"""Most messages in one transaction."""
LINGER_S: Final = 0.1
"""How long a batch gathers: one fsync for many windows, at the price of this latency."""
TICK_S: Final = 1.0
"""Pause between two rounds of acknowledging."""
HOURS_S: Final = 5.0
"""Pause between two refreshes of the hourly means."""
DOCTORS: Final = 0
"""Session of the will with which `fer-agent doctor` tries the broker. It tells nothing of an agent: none may run, and
its room may never have been heard."""
_STALL_S: Final = 30.0
"""Rounds further apart than this: what came meanwhile still waits at the broker, and its absence proves nothing."""
_BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


class Ingest:
    """One collector's writer. `run` is its thread."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        tally: Tally,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._store, self._tally = broker, store, tally
        self._clock, self._monotonic = clock, monotonic
        self._streams = Streams()
        self._current: dict[Source, int] = {}
        """The stream of the epoch that the agent's own status names. Windows of older epochs come late, too."""
        self._sessions: dict[Source, int | None] = {}
        self._back: dict[Source, float] = {}
        """When the agent last connected anew, if we have listened since: then it sends all that it still has."""
        self._questions = Questions()
        self._unheard: set[Source] = set()
        """Agents that answered, and of whose windows none came; each is named in the log once."""
        self._stop = threading.Event()
        self.storing = True
        """Whether the database took what was written last."""
        self.failure: Exception | None = None
        self._next_tick = self._next_hours = self._last_tick = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a broker."""
        return self._broker.connected

    def stop(self) -> None:
        """Ask `run` to end after the batch in hand."""
        self._stop.set()

    def work(self, on_failure: Callable[[], None]) -> None:
        """`run`; what it cannot deal with is kept in `failure` and told, so that the process ends with it."""
        try:
            self.run()
        except Exception as error:
            log.exception("event=collector.broken action='ends; what was not acknowledged comes again'")
            self.failure = error
            on_failure()

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stop.is_set():
            batch = self._broker.take(BATCH, wait_s=0.2, linger_s=LINGER_S)
            if batch and not self._take_in(batch):
                return
            if self._monotonic() >= self._next_tick:
                self._next_tick = self._monotonic() + TICK_S
                self._patiently(self._tick)

    def _take_in(self, batch: Sequence[Delivery]) -> bool:
        messages = self._check(batch)
        if messages and not self._patiently(lambda: self._write(messages)):
            return False
        self._broker.confirm(batch)
        return True

    def _check(self, batch: Sequence[Delivery]) -> list[Message]:
        messages = []
        for delivery in batch:
            try:
                message = parse_message(
                    delivery.topic, delivery.payload, retained=delivery.retained, correlation=delivery.correlation
                )
            except Refused as reason:
                self._tally.refuse(str(reason))
                self._hear_refused(delivery)
                continue
            if isinstance(value := message.value, Cleared) or (isinstance(value, Status) and value.session == DOCTORS):
                continue
            messages.append(message)
            self._hear(message)
        self._tally.add("received", len(batch))
        return messages

    def _hear(self, message: Message) -> None:
        if isinstance(message.value, Window) and message.kind == "window" and not message.retained:
            self._questions.hear(message.source, self._monotonic())
            if message.value.replay:
                self._questions.hear_late(message.source, self._monotonic())

    def _hear_refused(self, delivery: Delivery) -> None:
        with contextlib.suppress(Refused):
            source, kind = split_topic(delivery.topic)
            if kind == "window" and not delivery.retained:
                self._questions.hear(source, self._monotonic())

    def _patiently(self, work: Callable[[], None]) -> bool:
        """Do database work, again and again while the database is away. False: told to stop before it came back."""
        tries = 0
        while True:
            try:
                work()
            except SQLAlchemyError as error:
                if tries == 0:
                    reason = first_line(getattr(error, "orig", None) or error)
                    action = "waiting, nothing is acknowledged"
                    if "malformed" in reason:  # SQLite's word for a damaged file
                        action += "; the file is damaged: stop the collector and put a backup back, as the README says"
                    log.error("event=database.away reason=%r action=%r", reason, action)
                self.storing = False
                self._tally.add("database_errors")
                if self._stop.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]):
                    return False
                tries += 1
            else:
                if tries:
                    log.info("event=database.back tries=%d", tries)
                self.storing = True
                return True

    def _write(self, messages: Sequence[Message]) -> None:
        try:
            written = self._store.write(messages, self._now_ms())
        except SQLAlchemyError as error:
            if not _is_poison(error):
                raise
            if len(messages) == 1:
                return self._tally.refuse(f"database {type(error).__name__}")
            half = len(messages) // 2
            self._write(messages[:half])
            return self._write(messages[half:])
        self._tally.add("stored", written.stored)
        self._tally.add("duplicates", written.duplicates)
        self._note(messages, written)
        return None

    def _note(self, messages: Sequence[Message], written: Written) -> None:
        at = self._monotonic()
        self._open({*written.seqs, *written.newest, *written.lost}, at)
        for stream, seqs in written.seqs.items():
            self._streams.add(stream, seqs, at)
        for stream, gaps in written.lost.items():
            self._streams.mark_all_lost(stream, gaps, at)
        for stream, newest in written.newest.items():
            self._streams.expect(stream, newest, at)
        for message in messages:
            if isinstance(message.value, Status):
                self._note_status(message.source, message.value, message.retained, at)
            elif isinstance(message.value, Reply) and message.value.ok:
                sent = message.value.result
                told = None if sent is None else (sent.from_, sent.to)
                self._questions.answer(message.source, message.correlation, told)

    def _note_status(self, source: Source, status: Status, retained: bool, at: float) -> None:
        # A will is as old as the connection: the epoch may have changed since.
        if status.epoch and (status.state != "lost" or source not in self._current):
            self._current[source] = self._store.stream_of(source, status.epoch)
        if status.state in ("lost", "disconnected"):
            self._back.pop(source, None)
            return
        if not retained and self._sessions.get(source, status.session) != status.session:
            self._back[source] = at
        self._sessions[source] = status.session

    def _open(self, streams: set[int], at: float) -> None:
        new = {stream for stream in streams if stream not in self._streams}
        for stream, known in (self._store.progress(new) if new else {}).items():
            self._streams.open(stream, known.upto, at)
            self._catch_up(stream, known, at)

    def _catch_up(self, stream: int, known: Progress, at: float) -> None:
        self._streams.mark_all_lost(stream, known.lost, at)
        self._streams.reach(stream, known.upto, at)
        self._streams.add(stream, known.seqs, at)

    def _tick(self) -> None:
        at = self._monotonic()
        if at - self._last_tick > _STALL_S or not self._broker.connected:
            self._back.clear()
            self._questions.forget()
        if due := self._streams.due(at):
            for stream, known in self._store.progress({hole.stream for hole in due}).items():
                self._catch_up(stream, known, at)
        if self._broker.connected:
            for hole in self._streams.due(at)[: self._broker.questions_left] if self._broker.hears_windows else ():
                self._mend(hole, at)
            self._acknowledge()
        self._say_lost()
        if at >= self._next_hours:
            self._next_hours = at + HOURS_S
            refresh_hours(self._store.engine)
        self._last_tick = at

    def _mend(self, hole: Hole, at: float) -> None:
        source, _ = self._store.name_of(hole.stream)
        if self._current.get(source, hole.stream) == hole.stream:
            return self._ask(source, hole, at)
        # `resend` speaks of the agent's own epoch only. What it keeps of an older one it sends after each connect.
        back = self._back.get(source)
        arrives = back is not None and self._questions.heard_since(source, back)
        through = arrives and not self._questions.draining(source, at)
        if back is not None and through and self._streams.silent(hole, back, at):
            return self._give_up(hole, at)
        self._streams.asked(hole, at)
        return None

    def _ask(self, source: Source, hole: Hole, at: float) -> None:
        outcome = self._questions.close(source, at)
        if outcome.counts is not None:
            self._streams.answered(outcome.counts)
            self._unheard.discard(source)
        elif outcome.unheard:
            self._say_unheard(source)
        if (hopeless := self._streams.hopeless(hole)) is not None:
            return self._give_up(hopeless, at)
        part = self._streams.asked(hole, at)
        self._questions.ask(source, self._broker.ask_resend(source, part.first, part.last), part)
        return self._tally.add("resends_asked")

    def _say_unheard(self, source: Source) -> None:
        if source in self._unheard:
            return
        self._unheard.add(source)
        topic = f"fer/v1/{source.site}/{source.room}/{source.agent}/window"
        mend = f'allow {self._broker.acl_line("read", EVERY_WINDOW)}, and "topic write {topic}" to its agent'
        log.error("event=windows.unheard topic=%s reason='sent, it says, and none came' action=%r", topic, mend)

    def _give_up(self, hole: Hole, at: float) -> None:
        self._store.write_lost(hole.stream, hole.first, hole.last, "unanswered", self._now_ms())
        self._streams.mark_all_lost(hole.stream, [(hole.first, hole.last)], at)

    def _say_lost(self) -> None:
        """Name once in the log what is not here and will not come: declared lost, or given up. (Another collector of
        the group may have stored some of it.)"""
        for stream, ranges in self._streams.take_gone().items():
            with self._store.engine.connect() as connection:
                stored = count_stored(connection, stream, ranges)
            if count := sum(last - first + 1 for first, last in ranges) - stored:
                s, _ = self._store.name_of(stream)
                log.warning("event=windows.lost agent=%s/%s/%s count=%d", s.site, s.room, s.agent, count)

    def _acknowledge(self) -> None:
        moved = self._streams.moved()
        if not moved:
            return
        self._store.save_progress(moved)
        # The last one is the one that stays retained: it must be that of the current epoch.
        current = {c for stream in moved if (c := self._current.get(self._store.name_of(stream)[0])) is not None}
        moved = {s: u for s, u in moved.items() if s not in current}
        moved |= {s: upto for s in current if (upto := self._streams.upto(s)) > 0}
        for stream, upto in moved.items():
            source, epoch = self._store.name_of(stream)
            self._broker.publish_ack(source, epoch, upto)
        self._streams.acked(moved)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _is_poison(error: SQLAlchemyError) -> bool:
    """Whether it is about a value that the database cannot take: waiting would not help."""
    if isinstance(error, DataError | IntegrityError):
        return True
    return isinstance(error, StatementError) and not isinstance(error, DBAPIError)
