"""The delivery's one thread: connects, greets, sends what the outbox says, answers commands, and never gives up."""

import logging
import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.config import Mqtt
from agent.delivery import link, payload, security, wire
from agent.delivery.memory import Entry
from agent.delivery.outbox import Item, Outbox
from agent.delivery.pace import Pace
from agent.delivery.shared import SharedSpool
from agent.errors import FerAgentError

log = logging.getLogger("agent.delivery")

_NOT_AUTHORISED: Final = 135
_TOO_LARGE: Final = 149
_EVENTS_KEPT: Final = 100
"""Events that wait for a connection; older ones are dropped."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message that is not in the spool."""

    name: str
    """Last part of its topic."""
    body: wire.Wire
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Closing:
    """A window closed; it lies at this position of the spool."""

    position: int


@dataclass(frozen=True, slots=True)
class SetState:
    """What the agent says of itself."""

    state: wire.State
    reason: str | None


@dataclass(frozen=True, slots=True)
class SetMeta:
    """What runs has changed."""

    made_by: payload.Provenance


@dataclass(frozen=True, slots=True)
class Stop:
    """Send what is left and say goodbye; `failed`: go down with the will."""

    failed: bool


News = link.Note | Closing | Parcel | SetState | SetMeta | Stop


class Courier:
    """Owns the connection. Everything reaches it through `inbox`; nothing else touches its state."""

    def __init__(
        self,
        mqtt: Mqtt,
        speaker: payload.Speaker,
        made_by: payload.Provenance,
        spool: SharedSpool,
        pace: Pace,
        on_fatal: Callable[[FerAgentError], None],
    ) -> None:
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.connected = threading.Event()
        self._mqtt, self._speaker, self._made_by = mqtt, speaker, made_by
        self._spool, self._pace, self._on_fatal = spool, pace, on_fatal
        self._tls: ssl.SSLContext | None = security.context(mqtt)
        self._password = security.password(mqtt)
        self._outbox = Outbox(pace.rate)
        self._events: deque[Parcel] = deque(maxlen=_EVENTS_KEPT)
        self._link: link.Link | None = None
        self._up = False
        self._max_packet: int | None = None
        self._failures = 0
        self._connections = 0
        self._next_try = 0.0
        self._state = SetState("init", None)
        self._troubles: dict[str, str] = {}
        self._stopping: Stop | None = None
        self._deadline = 0.0

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end that `Stop` asked for."""
        self._thread.join()

    def _run(self) -> None:
        """Work until `Stop`. An unforeseen error is reported: the agent must not look alive without this."""
        try:
            while not self._finished():
                self._turn()
            self._goodbye()
        except Exception as error:
            log.exception("event=delivery.crashed")
            self._on_fatal(FerAgentError(f"delivery: {type(error).__name__}: {error}"))
            if self._link is not None:
                self._link.close(fire_will=True)

    def _finished(self) -> bool:
        if self._stopping is None:
            return False
        return self._stopping.failed or not self._up or self._outbox.idle or time.monotonic() >= self._deadline

    def _turn(self) -> None:
        now = time.monotonic()
        if self._link is None and now >= self._next_try:
            self._connect()
        if self._up:
            self._pump(now)
        try:
            news = self.inbox.get(timeout=self._patience(time.monotonic()))
            while True:
                self._take(news)
                news = self.inbox.get_nowait()
        except queue.Empty:
            pass

    def _patience(self, now: float) -> float | None:
        """Seconds until something is to be done by time alone."""
        waits = [w for w in (self._outbox.wait(now) if self._up else None,) if w is not None]
        if self._link is None:
            waits.append(self._next_try - now)
        if self._stopping is not None:
            waits.append(self._deadline - now)
        return max(0.0, min(waits)) if waits else None

    # -- connection ------------------------------------------------------------------------------------------

    @property
    def _session(self) -> int:
        """Number of this connection: the same in its will and its births."""
        return self._speaker.started_ms + self._connections

    def _connect(self) -> None:
        self._connections += 1
        will = link.Will(self._speaker.topics("status"), self._status("lost", "connection lost").encode())
        made = link.Link(self._mqtt, f"fer-{self._speaker.topics.agent}", self._tls, self._password, will)
        try:
            made.open(lambda note: self.inbox.put(note))
        except (OSError, ValueError) as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._lost(
                security.explain(error, self._mqtt), herd=refused and self._failures == 0 and self._connections > 1
            )
            return
        self._link = made

    def _lost(self, why: str, *, herd: bool) -> None:
        wait = self._pace.wait(self._failures, herd=herd)
        self._failures += 1
        self._next_try = time.monotonic() + wait
        log.warning("event=mqtt.down reason=%r retry_s=%.1f", why, wait)

    def _closed(self, news: link.Closed) -> None:
        was_up, self._up = self._up, False
        self.connected.clear()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._outbox.reset()
        if news.refused:
            log.error("event=mqtt.refused reason=%r", news.reason)
        self._lost(news.reason, herd=was_up and news.by_broker)

    def _welcome(self, news: link.Connected) -> None:
        assert self._link is not None
        self._up, self._failures, self._max_packet = True, 0, news.max_packet
        log.info("event=mqtt.up host=%s port=%d session=%d", self._mqtt.host, self._mqtt.port, self._session)
        if not news.assured:
            log.warning(
                "event=mqtt.old MQTT 3.1.1 hides refusals by the broker's ACL: a forbidden window is lost silently"
            )
        topics = self._speaker.topics
        self._link.subscribe([topics("ack"), topics("cmd/+"), topics("status")])
        self._say_status()
        self._post(Parcel("meta", payload.meta(self._speaker, self._made_by), retain=True))
        while self._events:
            self._post(self._events.popleft())
        now = time.monotonic()
        live, late = self._spool.backlog(now - self._pace.fresh_s)
        self._outbox.add_late(late, not_before=now + self._pace.grace_s)
        for position in live:
            self._outbox.add_live(position)
        self.connected.set()

    def _goodbye(self) -> None:
        if self._link is None:
            return
        failed = self._stopping is not None and self._stopping.failed
        if self._up and not failed:
            self._post(Parcel("status", self._status("disconnected", None), retain=True))
            self._drain_last()
        self._link.close(fire_will=failed)
        self._link, self._up = None, False

    def _drain_last(self) -> None:
        """Wait a moment for the PUBACK of the goodbye: the socket must not close over it."""
        end = time.monotonic() + 1.0
        while (left := end - time.monotonic()) > 0:
            try:
                news = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(news, link.Note) and isinstance(news.news, link.Answered):
                self._answered(news.news)
                if news.news.mid == self._last_mid:
                    return

    # -- sending ---------------------------------------------------------------------------------------------

    _last_mid = 0

    def _post(self, parcel: Parcel) -> None:
        assert self._link is not None
        topic = self._speaker.topics(parcel.name)
        self._last_mid = self._link.publish(topic, parcel.body.encode(), qos=parcel.qos, retain=parcel.retain)

    def _status(self, state: wire.State, reason: str | None) -> wire.Status:
        session, epoch, newest = self._session, self._spool.epoch, self._spool.newest_seq
        return payload.status(self._speaker, state, reason, session=session, epoch=epoch, newest_seq=newest)

    def _say_status(self) -> None:
        state, reason = self._state.state, self._state.reason
        if self._troubles and state == "ready":
            state, reason = "degraded", "; ".join(self._troubles.values())
        if self._up:
            self._post(Parcel("status", self._status(state, reason), retain=True))

    def _pump(self, now: float) -> None:
        while item := self._outbox.next(now):
            if entry := self._spool.read(item.position):
                self._send(item, entry)

    def _send(self, item: Item, entry: Entry) -> None:
        assert self._link is not None
        topics = self._speaker.topics
        if entry.kind == "gap":
            body = payload.gap_event(self._speaker, entry.epoch, entry.payload, round(time.time() * 1000)).encode()
            self._outbox.sent(self._link.publish(topics("event"), body), item)
            return
        body = payload.replayed(entry.payload) if item.replay else entry.payload
        self._outbox.sent(self._link.publish(topics("window"), body), item)
        if not item.replay:
            expiry = max(1, round(3 * self._made_by.window_s))
            self._link.publish(topics("last"), body, qos=0, retain=True, expiry_s=expiry)

    # -- receiving -------------------------------------------------------------------------------------------

    def _take(self, news: News) -> None:
        if isinstance(news, link.Note):
            if news.link is self._link:
                self._hear(news.news)
        elif isinstance(news, Closing):
            if self._up:
                self._outbox.add_live(news.position)
        elif isinstance(news, Parcel):
            if self._up:
                self._post(news)
            elif news.qos:
                self._events.append(news)
        elif isinstance(news, SetState):
            if news != self._state:
                self._state = news
                self._say_status()
        elif isinstance(news, SetMeta):
            self._made_by = news.made_by
            if self._up:
                self._post(Parcel("meta", payload.meta(self._speaker, self._made_by), retain=True))
        else:
            self._stopping, self._deadline = news, time.monotonic() + self._pace.drain_s

    def _hear(self, news: link.Connected | link.Closed | link.Answered | link.Granted | link.Received) -> None:
        if isinstance(news, link.Connected):
            self._welcome(news)
        elif isinstance(news, link.Closed):
            self._closed(news)
        elif isinstance(news, link.Answered):
            self._answered(news)
        elif isinstance(news, link.Received):
            self._received(news)

    def _answered(self, news: link.Answered) -> None:
        item = self._outbox.taken(news.mid)
        if news.code < 128:
            if item is not None:
                self._spool.confirm(item.position)
            return
        log.error("event=mqtt.publish_refused code=%d reason=%r", news.code, news.text)

    def _received(self, news: link.Received) -> None:
        if news.topic == self._speaker.topics("ack"):
            try:
                ack = wire.Ack.model_validate_json(news.payload)
            except ValueError:
                log.warning("event=mqtt.bad_ack bytes=%d", len(news.payload))
                return
            self._spool.ack(ack.epoch, ack.upto_seq)
