"""The delivery's one thread: connects, greets, sends what the outbox says, answers commands, and never gives up."""

import contextlib
import logging
import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from agent.config import Mqtt
from agent.delivery import discovery, link, payload, security
from agent.delivery.births import Births
from agent.delivery.commands import Desk, Handler
from agent.delivery.memory import Entry
from agent.delivery.news import Closing, News, Parcel, SetMeta, SetState, Stop
from agent.delivery.outbox import Item, Outbox
from agent.delivery.pace import Pace
from agent.delivery.reception import Reception
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from agent.delivery.underway import UnderWay
from agent.delivery.wallclock import now_ms
from agent.errors import FerAgentError

log = logging.getLogger("agent.delivery")

_EVENTS_KEPT: Final = 100
"""Messages of QoS 1 that wait for a connection; older ones are dropped."""

Connect = Callable[[Mqtt, str, ssl.SSLContext | None, str | None, link.Will], link.Link]
"""Makes a link that is not open yet."""


class Courier:
    """Owns the connection. Everything reaches it through `inbox`; nothing else touches its state."""

    def __init__(
        self,
        mqtt: Mqtt,
        speaker: payload.Speaker,
        births: Births,
        spool: SharedSpool,
        *,
        pace: Pace,
        handlers: Mapping[str, Handler],
        retained: RetainedTopics,
        on_fatal: Callable[[FerAgentError], None],
        connect: Connect = link.Link,
    ) -> None:
        self.thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.connected = threading.Event()
        self.away: str | None = None
        """Why there is no connection, as the last try or the end of the last one told."""
        self._mqtt, self._speaker, self._births = mqtt, speaker, births
        self._spool, self._pace, self._retained, self._on_fatal = spool, pace, retained, on_fatal
        self._make_link = connect
        self._tls: ssl.SSLContext | None = security.context(mqtt)
        self._password = security.password(mqtt)
        self.outbox = Outbox(pace.rate)
        desk = Desk(speaker, handlers, self.resend, lambda: spool.newest_seq)
        self._reception = Reception(mqtt, speaker, births, spool, self, desk, unacked_s=pace.unacked_s)
        self._waiting: deque[Parcel] = deque(maxlen=_EVENTS_KEPT)
        self._link: link.Link | None = None
        self._up = False
        self._under_way = UnderWay()
        self._failures = self._ends = 0
        self._next_try = self._deadline = 0.0
        self._stopping: Stop | None = None
        self._abandoned = False

    def fatal(self, error: FerAgentError) -> None:
        """Give up for good: the agent will hear of it, and this thread ends without a word on the network."""
        self._on_fatal(error)
        self._stopping = Stop(failed=False)
        if self._link is not None:
            self._link.close()
            self._link, self._up = None, False
        self._deadline = 0.0

    def abandon(self) -> None:
        """Nobody waits for this thread any more: when the network lets go of it, it ends. Called by another thread."""
        self._abandoned = True
        log.warning("event=delivery.abandoned the network or the resolver hangs; windows that were not sent are kept")

    def _run(self) -> None:
        """Work until `Stop`. An unforeseen error is reported: the agent must not look alive without this."""
        if self._mqtt.version != "5":
            log.warning(
                "event=mqtt.old MQTT 3.1.1 hides refusals by the broker's ACL: forbidden windows vanish silently"
            )
        try:
            while not self._finished():
                with contextlib.suppress(queue.Empty):
                    self._take(self.inbox.get(timeout=self.step()))
            self._goodbye()
        except Exception as error:
            log.exception("event=delivery.crashed")
            self._on_fatal(FerAgentError(f"delivery: {type(error).__name__}: {error}"))
            if self._link is not None:
                self._link.close(fire_will=True)

    def _finished(self) -> bool:
        if self._abandoned:
            return True
        if self._stopping is None:
            return False
        late = time.monotonic() >= self._deadline
        # Before the first welcome there may still be time to say it all.
        waits = self._link is not None and not self._up
        return self._stopping.failed or late or (self.outbox.idle and not waits) or self._link is None

    def step(self) -> float | None:
        """Do all that is to be done now; seconds until time alone brings more, None if only news can."""
        if self._link is None and time.monotonic() >= self._next_try:
            self._connect()
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(self.inbox.get_nowait())
        if self._up:
            self._pump(time.monotonic())
        return 0.0 if self._finished() else self._patience(time.monotonic())

    def _patience(self, now: float) -> float | None:
        """Seconds until something is to be done by time alone; None if only news can change anything."""
        waits = []
        if self._up and (wait := self.outbox.wait(now)) is not None:
            waits.append(wait)
        if self._link is None:
            waits.append(self._next_try - now)
        if self._stopping is not None:
            waits.append(self._deadline - now)
        return max(0.0, min(waits)) if waits else None

    def _connect(self) -> None:
        self._births.next_session()
        lost = self._births.status("lost", "connection lost")
        will = link.Will(lost.topic, lost.body)
        made = self._make_link(self._mqtt, f"fer-{self._speaker.topics.agent}", self._tls, self._password, will)
        try:
            made.open(self.inbox.put)
        except (OSError, ValueError) as error:
            self._retry(security.explain(error, self._mqtt), herd=False)
        else:
            if self._abandoned:
                made.close()
            else:
                self._link = made

    def _retry(self, why: str, *, herd: bool) -> None:
        wait = self._pace.wait(max(self._failures, self._ends), herd=herd)
        self._failures += 1
        self.away, self._next_try = why, time.monotonic() + wait
        log.warning("event=mqtt.down reason=%r retry_s=%.1f", why, wait)

    def _closed(self, news: link.Closed) -> None:
        was_up, self._up = self._up, False
        # What is to be read is asked first: a broker that garbles that answer does not do so for a packet's size; nor
        # does one that was sent nothing.
        heard, unanswered = self.connected.is_set(), self._under_way.topics()
        babble = news.garbled and not (heard and unanswered)
        self.connected.clear()
        if self._link is not None:
            self._link.close()
            self._link = None
        others = self._under_way.closed(garbled=news.garbled and heard)
        # One of these may be the packet that was too large: sent again, it would end each connection to come.
        self._reception.closed(news, set() if others else set(self.outbox.in_flight()))
        mute = was_up and self._reception.ended(news, unanswered)
        self._ends = self._ends + 1 if mute or babble else 0
        self._waiting.extend(() if news.too_large else others)
        self.outbox.reset()
        why = news.reason if not babble else f"the broker's answers are no MQTT {self._mqtt.version}: {news.reason}"
        self._retry(why, herd=was_up and news.by_broker and not mute)

    def _welcome(self, news: link.Connected) -> None:
        assert self._link is not None
        self._up, self._failures, self.away = True, 0, None
        self._under_way.welcome(news.max_packet)
        self._reception.welcome(self._under_way.limit)
        log.info("event=mqtt.up host=%s port=%d session=%d", self._mqtt.host, self._mqtt.port, self._births.session)
        self._link.subscribe(self._births.subscriptions())
        for parcel in self._births.all():
            self.post(parcel)
        for topic in self._retained.stale(self._births.retained()):
            self.post(Parcel(topic, b"", retain=True))
        for parcel in self._waiting:
            self.post(parcel)
        self._waiting.clear()
        self.requeue()

    def requeue(self) -> None:
        """Line up everything that the spool holds and that is not under way."""
        now = time.monotonic()
        live, late = self._spool.backlog(now - self._pace.fresh_s)
        poison = self._reception.poison
        self.outbox.add_late((p for p in late if p not in poison), not_before=now + self._pace.grace_s)
        for position in live:
            if position not in poison:
                self.outbox.add_live(position)

    def _goodbye(self) -> None:
        if self._link is None:
            return
        failed = self._stopping is not None and self._stopping.failed
        if self._up and not failed:
            self._wait_for(self.post(self._births.status("disconnected")))
        self._link.close(fire_will=failed)
        self._link, self._up = None, False

    def _wait_for(self, mid: int) -> None:
        """Wait a moment for the PUBACK of the goodbye: the socket must not close over it."""
        end = time.monotonic() + 1.0
        while (left := end - time.monotonic()) > 0:
            try:
                news = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(news, link.Note) and isinstance(news.news, link.Answered) and news.news.mid == mid:
                return

    def post(self, parcel: Parcel) -> int:
        """Send one message now, if there is a connection; its packet number, or 0."""
        topic, body, retain = parcel.topic, parcel.body, parcel.retain
        if self._link is None or not self._up or not (size := self._fitting(topic, body, parcel.correlation)):
            return 0
        if retain and body:
            self._retained.add(topic)
        mid = self._link.publish(topic, body, qos=parcel.qos, retain=retain, correlation=parcel.correlation)
        if parcel.qos:
            self._under_way.add(mid, parcel, size)
        return mid

    def _fitting(self, topic: str, body: bytes, correlation: bytes | None = None) -> int:
        """Bytes of this packet; 0 if the broker takes none so large: it would end the connection, again and again."""
        size, most = link.size(topic, body, correlation), self._under_way.limit
        if most is None or size <= most:
            return size
        name = topic.rpartition("/")[2]
        limit = f"the broker takes packets of {most} bytes, too few for {name}"
        if correlation is not None:  # whoever asked made it so large: one reply is lost, nothing is wrong here
            log.warning("event=cmd.reply_too_large %s (%d): send shorter correlation data", limit, size)
            return 0
        if self._births.set_trouble(f"size {name}", limit):
            log.error("event=mqtt.too_large %s (%d): raise its max_packet_size or message_size_limit", limit, size)
            if name != "status":
                self.post(self._births.status())
        return 0

    def _pump(self, now: float) -> None:
        while item := self.outbox.next(now):
            if entry := self._spool.read(item.position):
                self._send(item, entry)

    def _send(self, item: Item, entry: Entry) -> None:
        assert self._link is not None
        topics, gap = self._speaker.topics, entry.kind == "gap"
        topic = topics("event" if gap else "window")
        if gap:
            body = payload.gap_event(self._speaker, entry.epoch, entry.payload, now_ms()).encode()
        else:
            body = payload.replayed(entry.payload) if item.replay else entry.payload
        if not (size := self._fitting(topic, body)):
            self._reception.poison.add(item.position)
            return
        mid = self._link.publish(topic, body)
        self._under_way.add(mid, Parcel(topic, b""), size)
        self.outbox.sent(mid, item)
        if not gap and not item.replay:
            expiry = max(1, round(3 * self._births.made_by.window_s))
            self._retained.add(topics("last"))
            self._link.publish(topics("last"), body, qos=0, retain=True, expiry_s=expiry)

    def resend(self, first: int, last: int) -> dict[int, int]:
        """Line up what tells of `first`…`last` (windows that are kept, declared gaps), as late: seq → position."""
        self.outbox.add_late((told := self._spool.find(first, last)).values())
        return told

    def _take(self, news: News) -> None:
        if isinstance(news, link.Note):
            if news.link is self._link:
                self._hear(news.news)
        elif isinstance(news, Closing):
            if self._up:
                for position in news.positions:
                    self.outbox.add_live(position)
                self._pump(time.monotonic())  # at once: what is told after a window, such as its health, comes after it
            if self._births.spool_news():
                self.post(self._births.status())
        elif isinstance(news, Parcel):
            if not self.post(news) and news.qos:
                self._waiting.append(news)
        elif isinstance(news, SetState):
            if self._births.set_state(news):
                self.post(self._births.status())
        elif isinstance(news, SetMeta):
            self._births.made_by = news.made_by
            for parcel in (self._births.meta(), *self._births.discovery()):
                self.post(parcel)
        else:
            self._stopping, self._deadline = news, time.monotonic() + self._pace.drain_s

    def _hear(self, news: link.Connected | link.Closed | link.Answered | link.Granted | link.Received) -> None:
        if isinstance(news, link.Connected):
            self._welcome(news)
        elif isinstance(news, link.Closed):
            self._closed(news)
        elif isinstance(news, link.Answered):
            topic, item = self._under_way.taken(news.mid), self.outbox.taken(news.mid)
            if topic in self._retained.stale(self._births.retained()):
                self._retained.forget(topic)
                self._reception.cleared(news, topic)
            else:
                self._reception.answered(news, topic, item)
        elif isinstance(news, link.Granted):
            self.connected.set()  # from here on commands arrive, too
            self._reception.granted(news)
        elif news.topic == discovery.BIRTH:
            for parcel in self._births.discovery() if news.payload == b"online" else ():
                self.post(parcel)
        else:
            self._reception.received(news)
