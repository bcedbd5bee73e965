"""What the broker denies, said once each, with what its ACL or this collector lacks. No IO and no clock."""

import logging
from collections.abc import Iterable
from typing import Final

from agent.delivery.link import REFUSED

log = logging.getLogger("fer.collector")

_EVERYTHING: Final = "fer/v1/#"
"""What a collector reads, in one line of an ACL."""
_HANGS_UP: Final = "ends each connection and leaves it without an answer"


class Refusals:
    """One connection's. answered / ended: what came of what was published; note: of anything that was asked."""

    def __init__(self, username: str | None) -> None:
        self._who = username or "the anonymous user"
        self._denied: set[str] = set()
        """What may not be read or written; said once, and again if it was allowed in between."""
        self._mute: set[str] = set()
        """Topics that had no answer when the broker ended the connection, and none since."""
        self._unheard = False
        """So had what was to be read."""

    def acl_line(self, how: str, topic: str) -> str:
        """Return the line that the broker's ACL file needs, and for whom."""
        return f'"topic {how} {topic}" to {self._who}'

    def note(self, what: str, topic: str, code: int, reason: str, mend: str) -> None:
        """Note an answer to "reading" or "writing" `topic`."""
        key = f"{what} {topic}"
        if code < REFUSED:
            if key in self._denied:
                log.info("event=broker.allowed what=%s topic=%s", what, topic)
            self._denied.discard(key)
        elif key not in self._denied:
            self._denied.add(key)
            log.error("event=broker.denied what=%s topic=%s reason=%r action=%r", what, topic, reason, mend)

    def answered(self, topic: str, code: int, reason: str) -> bool:
        """Note the answer to a publish; whether no topic is left over which the broker ended a connection."""
        self._mute.discard(topic)
        self.note("writing", topic, code, reason, f"allow {self.acl_line('write', topic)}")
        return not self._mute

    def heard(self) -> bool:
        """Note that what was to be read was answered; whether nothing is left over which the broker ended a
        connection."""
        self._unheard = False
        self.note("reading", _EVERYTHING, 0, "", "")
        return not self._mute

    def ended(self, unanswered: Iterable[str], *, unheard: bool) -> bool:
        """The broker ended the connection; whether it did over the same topics before, or, as before, without an
        answer to what was to be read (`unheard`). One that cannot answer no does so over what its ACL forbids
        (RabbitMQ, with MQTT 3.1.1), at every try."""
        topics = set(unanswered)
        again = self._mute & topics
        self._mute = again or topics
        for topic in sorted(again):
            self.note("writing", topic, REFUSED, _HANGS_UP, f"allow {self.acl_line('write', topic)}")
        unheard = unheard and not topics  # what waits for an answer is sent again before the broker is asked to read
        deaf, self._unheard = unheard and self._unheard, unheard
        if deaf:
            self.note("reading", _EVERYTHING, REFUSED, _HANGS_UP, f"allow {self.acl_line('read', _EVERYTHING)}")
        return bool(again) or deaf
