"""What is on its way to the broker and not answered yet, and how large a packet that takes. No IO and no clock."""

import logging

from agent.delivery.news import Parcel

log = logging.getLogger("agent.delivery")


class UnderWay:
    """One thread's. welcome / closed: a connection began, ended. add / taken: a packet went, was answered."""

    def __init__(self) -> None:
        self.limit: int | None = None
        """Bytes that a packet may have at this broker; None if it did not say, and nothing tells."""
        self._guessed: int | None = None
        self._sent: dict[int, tuple[Parcel, int]] = {}

    def welcome(self, said: int | None) -> None:
        """The broker says what it takes, bytes; or nothing."""
        self.limit = min(filter(None, (said, self._guessed)), default=None)

    def add(self, mid: int, parcel: Parcel, size: int) -> None:
        """Packet `mid` of `size` bytes went. What the spool keeps comes without its body."""
        self._sent[mid] = parcel, size

    def taken(self, mid: int) -> str:
        """Packet `mid` was answered; its topic, or "" of one that nobody asked about."""
        return self._sent.pop(mid)[0].topic if mid in self._sent else ""

    def topics(self) -> set[str]:
        """What has no answer yet."""
        return {parcel.topic for parcel, _ in self._sent.values()}

    def closed(self, *, garbled: bool) -> list[Parcel]:
        """The connection ended, `garbled`: by an answer that is no MQTT, such as a broker has for a packet that is too
        large. Return what nobody else sends again: windows stay in the spool, and births come with each connection."""
        if not garbled:
            self._guessed = None
        elif self._sent:
            parcel, size = next(iter(self._sent.values()))  # the oldest one is what was answered
            log.error("event=mqtt.too_large the broker refuses %d bytes for %s: raise its limit", size, parcel.topic)
            self._guessed = size - 1
        others = [parcel for parcel, _ in self._sent.values() if parcel.body and not parcel.retain]
        self._sent.clear()
        return others
