"""What the broker and people behind it say, and what it means: refusals, acks, commands, a second agent of our id."""

import logging
import time
from typing import Final, Protocol

from agent.config import Mqtt
from agent.delivery import link, payload, wire
from agent.delivery.births import Births
from agent.delivery.commands import Desk
from agent.delivery.identity import Contest, Twin
from agent.delivery.news import Parcel
from agent.delivery.outbox import Item
from agent.delivery.shared import SharedSpool
from agent.delivery.wallclock import now_ms
from agent.errors import ConfigError, FerAgentError

log = logging.getLogger("agent.delivery")

_DENIED: Final = (135, 144)
"""What a broker says of a topic that its ACL forbids: not authorised, or (ejabberd) that it is no topic."""
_TOO_LARGE: Final = 149
_BRIEF_S: Final = 60.0
"""A device whose connection was taken is back within about half of this, and takes it in turn."""
_TAKEN: Final = 5
"""So many brief connections in a row were taken; a broker is seldom started anew so often."""


class Sender(Protocol):
    """What reception needs of the courier."""

    def post(self, parcel: Parcel) -> int:
        """Send one message."""

    def requeue(self) -> None:
        """Line up everything that is kept and not under way."""

    def fatal(self, error: FerAgentError) -> None:
        """Give up for good."""


class Reception:
    """Runs in the courier's thread."""

    def __init__(
        self,
        mqtt: Mqtt,
        speaker: payload.Speaker,
        births: Births,
        spool: SharedSpool,
        sender: Sender,
        desk: Desk,
        *,
        unacked_s: float,
    ) -> None:
        self._mqtt, self._speaker, self._births, self._spool = mqtt, speaker, births, spool
        self._sender, self._desk = sender, desk
        self._twin = Twin(speaker.boot_id, speaker.started_ms)
        self._bad_acks, self._unacked_s = 0, unacked_s
        self._contest = Contest(_BRIEF_S, _TAKEN)
        self._unacked_since: float | None = None
        """When the broker took the first window of those for which no ack has come."""
        self._limit: int | None = None
        self._deadly: set[int] = set()
        self._mute: set[str] = set()
        """Topics that had no answer when the broker ended the connection, and none since."""
        self.poison: set[int] = set()
        """Positions of the spool that this broker will not take; they stay there for a collector's `resend`, and for
        the next connection."""

    def welcome(self, limit: int | None) -> None:
        """A new connection, to a broker that takes packets of `limit` bytes: what was refused is tried again; what
        ended a connection only if the limit is larger now."""
        before, self._limit = self._limit, limit
        self._contest.begun(time.monotonic())
        self._twin.connected()
        if limit != before and (limit is None or before is None or limit > before):
            self._deadly.clear()
            self._births.settle("size")
        self.poison = set(self._deadly)
        self._births.settle("refused")

    def closed(self, news: link.Closed, suspects: set[int]) -> None:
        """The connection ended. `suspects`: positions of what may have been too large, if the broker says so."""
        if news.refused:
            log.error("event=mqtt.refused reason=%r user=%r", news.reason, self._mqtt.username)
        if news.taken_over:
            self._twin.taken_over()
            log.error("event=mqtt.taken_over another client connected as fer-%s", self._speaker.topics.agent)
        if news.too_large:
            why = "the broker ended the connection: packet too large; raise max_packet_size there"
            if suspects:
                self._deadly |= suspects
                self._trouble("size", why)
            else:
                log.error("event=mqtt.too_large %s", why)

    def ended(self, news: link.Closed, unanswered: set[str]) -> bool:
        """Whether the broker ended this connection as the one before, over the same topics. One that cannot answer no
        ends it over what its ACL forbids (RabbitMQ, with MQTT 3.1.1): again and again, and without a word."""
        self._note_contest(news, unanswered)
        if not news.by_broker or news.too_large or news.taken_over or not unanswered:
            return False
        again = self._mute & unanswered
        self._mute = again or unanswered
        if again:
            names = ", ".join(sorted(again))
            lines = " and ".join(dict.fromkeys(self._acl("readwrite", topic) for topic in sorted(again)))
            why = f"the broker ends each connection and leaves {names} without an answer"
            self._trouble("ended", f"{why}: does its ACL allow {lines}?")
        return bool(again)

    def _note_contest(self, news: link.Closed, unanswered: set[str]) -> None:
        """A device of our id in another room speaks on other topics, so no status tells of it."""
        if not news.by_broker or unanswered or news.too_large or news.taken_over:
            self._contest.explained()
        elif self._contest.ended(time.monotonic()):
            me = self._speaker.topics.agent
            why = (
                "ends each connection soon after it began: another device, in whatever room or school, may have the id"
            )
            log.error("event=mqtt.contested the broker %s %r; give each device at a broker its own agent.id", why, me)

    def granted(self, news: link.Granted) -> None:
        """A subscribe was answered."""
        refused = [t for t, code in zip(self._births.subscriptions(), news.codes, strict=False) if code >= link.REFUSED]
        if refused:
            lines = " and ".join(dict.fromkeys(self._acl("read", topic) for topic in refused))
            self._trouble("acl_read", f"the broker denies subscribing: allow {lines}")
        elif self._births.settle("acl_read"):
            self._sender.post(self._births.status())

    def answered(self, news: link.Answered, topic: str, item: Item | None) -> None:
        """A publish was answered."""
        self._mute.discard(topic)
        if not self._mute and self._births.settle("ended"):
            self._sender.post(self._births.status())
        if news.code < link.REFUSED:
            if item is not None:
                self._spool.confirm(item.position)
                self._miss_ack()
            # A window that is too large waits in the spool: that a smaller one went through does not end its trouble.
            over = [f"acl {topic}", f"refused {topic}", *([] if item else [f"size {topic.rpartition('/')[2]}"])]
            if topic == self._speaker.topics("window"):
                self._desk.denied = None
            if topic and self._births.settle(*over):
                log.info("event=mqtt.allowed topic=%s", topic)
                self._sender.post(self._births.status())
                self._sender.requeue()
            return
        if news.code in _DENIED:
            why = f"the broker denies publishing to {topic}: allow {self._acl('write', topic)}"
            if topic == self._speaker.topics("window"):
                self._desk.denied = why
            self._trouble(f"acl {topic}", why)
            return
        if news.code == _TOO_LARGE and item is not None:
            self.poison.add(item.position)
        self._trouble(f"refused {topic}", f"the broker refuses {topic}: {news.text}")

    def cleared(self, news: link.Answered, topic: str) -> None:
        """What an earlier name of this agent left at the broker was to be cleared. A refusal is no trouble of now: the
        broker lets a renamed agent (its user name is another one, too) no more write what it wrote before."""
        if news.code >= link.REFUSED:
            log.warning(
                "event=retained.not_cleared topic=%s reason=%r mend='mosquitto_pub -r -n -t %s' as somebody who may",
                topic,
                news.text,
                topic,
            )

    def received(self, news: link.Received) -> None:
        """A message came."""
        if news.topic == self._speaker.topics("ack"):
            self._ack(news)
        elif news.topic == self._speaker.topics("status"):
            self._own_status(news)
        elif (reply := self._desk.answer(news)) is not None:
            topic, body, gaps = reply
            self._sender.post(Parcel(topic, body.encode(), correlation=news.correlation))
            for first, last in gaps:
                self._not_kept(first, last)

    def _ack(self, news: link.Received) -> None:
        try:
            ack = wire.Ack.model_validate_json(news.payload)
        except ValueError:
            self._bad_acks += 1
            if self._bad_acks == 1:
                log.warning("event=mqtt.bad_ack expected {epoch, upto_seq}, got %d bytes", len(news.payload))
            return
        before = self._spool.acked or 0
        if self._spool.ack(ack.epoch, ack.upto_seq):
            self._sender.post(self._births.status())  # it names the epoch, so that a collector looks there
            self._sender.requeue()
        # The retained one of before, which comes with each connection, is no news.
        if (self._spool.acked or 0) > before:
            self._unacked_since = None
            if self._births.settle("ack"):
                self._sender.post(self._births.status())
        if self.poison and not any(self._spool.read(position) for position in self.poison):
            self.poison.clear()  # nothing waits any more for a broker that takes it
            if self._births.settle("size"):
                self._sender.post(self._births.status())

    def _miss_ack(self) -> None:
        """The broker took a window. Nothing tells a collector that is away from an ACL that mutes its acks, nor, where
        none ever came, from an installation without a collector: that one is not troubled."""
        now = time.monotonic()
        if self._unacked_since is None:
            self._unacked_since = now
        if now - self._unacked_since < self._unacked_s or not self._spool.acked:
            return
        line = self._acl("read", self._speaker.topics("ack"))
        why = f"the broker takes windows, and no ack comes for {self._unacked_s / 3600:g} h"
        self._trouble("ack", f"{why}: is the collector running, and does the broker's ACL allow {line}?")

    def _own_status(self, news: link.Received) -> None:
        """Somebody spoke on our own status topic: ourselves, a late will of an older session, or a second agent."""
        try:
            status = wire.Status.model_validate_json(news.payload)
        except ValueError:
            return
        verdict = self._twin.verdict(status)
        if verdict is not None:
            self._duplicate(status, newer=verdict == "newer")
        elif not news.retained and status.state == "lost" and status.session != self._births.session:
            self._sender.post(self._births.status())  # the late will has replaced our birth

    def _duplicate(self, status: wire.Status, *, newer: bool) -> None:
        topics = self._speaker.topics
        what = (
            f"two agents have the id {topics.agent!r} in {topics.site}/{topics.room} (the other: boot {status.boot_id})"
        )
        log.error("event=mqtt.duplicate_identity %s", what)
        if newer:
            self._sender.fatal(ConfigError(f"{what}: this one started later and ends; give it another agent.id"))
            return
        body = payload.event(self._speaker, "delivery", "duplicate_identity", now_ms(), detail=what[:200])
        self._sender.post(Parcel(topics("event"), body.encode()))

    def _not_kept(self, first: int, last: int) -> None:
        more = {"epoch": self._spool.epoch, "from": first, "to": last}
        body = payload.event(self._speaker, "gap", "not_kept", now_ms(), **more)
        self._sender.post(Parcel(self._speaker.topics("event"), body.encode()))

    def _trouble(self, key: str, text: str) -> None:
        """Log it once, and say so in the status."""
        if self._births.set_trouble(key, text):
            log.error("event=mqtt.trouble %s", text)
            if "status" not in key:
                self._sender.post(self._births.status())

    def _acl(self, how: str, topic: str) -> str:
        """The line that the broker's ACL file needs for `topic`: for our own, one that allows all of them."""
        user, root = self._mqtt.username or "the anonymous user", self._speaker.topics.root
        return f'"topic {how} {f"{root}/#" if topic.startswith(f"{root}/") else topic}" to {user}'
