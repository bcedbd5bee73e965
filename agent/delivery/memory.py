"""The spool in memory, and what every spool can do. State without IO and without a clock; not thread-safe."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

_CAP: Final = 20_000
"""Entries kept: two weeks of one-minute windows, about 20 MB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to deliver."""

    kind: Literal["window", "gap"]
    epoch: str
    seq: int
    """The window's number; for a gap, the number that an ack must reach for it to be done."""
    payload: bytes
    """The window's payload; for a gap, JSON with from, to, reason."""


Build = Callable[[str, int], bytes]
"""Makes a window's payload once its epoch and seq are known."""


class Spool(Protocol):
    """Keeps entries until they are acknowledged. Every entry has a position, rising, for this run only."""

    @property
    def epoch(self) -> str:
        """Of the next window."""

    @property
    def newest_seq(self) -> int:
        """Last number used in this epoch; 0 if none."""

    @property
    def acked(self) -> int | None:
        """Newest number that a collector acknowledged in this epoch; None if none ever did."""

    @property
    def size(self) -> int:
        """Bytes of what is kept."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the place where entries are kept, or None."""

    def add(self, build: Build) -> int:
        """Keep a new window, durably where that is promised; return its position."""

    def add_gap(self, first: int, last: int, reason: str) -> int:
        """Keep the news that the windows `first`…`last` of this epoch are lost; return its position."""

    def read(self, position: int) -> Entry | None:
        """The entry, or None if it is gone."""

    def pending(self) -> list[int]:
        """Positions of all that is kept and not acknowledged, oldest first."""

    def find(self, first: int, last: int) -> dict[int, int]:
        """seq → position of what tells of these numbers of this epoch: kept windows, and gaps that were declared."""

    def ack(self, epoch: str, upto: int) -> bool:
        """A collector has everything of `epoch` up to `upto`; whether that made a new epoch begin."""

    def confirm(self, position: int) -> None:
        """The broker took responsibility for this entry (PUBACK): less than an ack."""

    def confirmed(self, position: int) -> bool:
        """Whether `confirm` was called for it, in this run or in an earlier one."""

    def new_gaps(self) -> list[int]:
        """Positions of gaps that the spool declared by itself since the last call."""

    def close(self) -> None:
        """Nothing more will be added; a clean stop."""


class MemorySpool:
    """Keeps entries until the process ends. Its epoch is new each time, because its counter is, too."""

    def __init__(self, rescued: Mapping[int, Entry] | None = None, cap: int = _CAP) -> None:
        """Args: rescued: entries of a spool that failed, by their old positions; cap: most entries kept."""
        self.epoch = new_epoch()
        self.newest_seq = 0
        self.acked: int | None = None
        self.trouble: str | None = None
        self._cap = cap
        self._entries: dict[int, Entry] = dict(rescued or {})
        self._next = 1 + max(self._entries, default=-1)
        self._confirmed: set[int] = set()
        self._gaps: list[int] = []

    @property
    def size(self) -> int:
        return sum(len(e.payload) for e in self._entries.values())

    def add(self, build: Build) -> int:
        self.newest_seq += 1
        position = self._put(Entry("window", self.epoch, self.newest_seq, build(self.epoch, self.newest_seq)))
        self._shrink()
        return position

    def add_gap(self, first: int, last: int, reason: str) -> int:
        return self._put(Entry("gap", self.epoch, max(last, self.newest_seq), gap_payload(first, last, reason)))

    def read(self, position: int) -> Entry | None:
        return self._entries.get(position)

    def pending(self) -> list[int]:
        return list(self._entries)

    def find(self, first: int, last: int) -> dict[int, int]:
        told: dict[int, int] = {}
        for position, e in self._entries.items():
            if e.epoch == self.epoch:
                begin, end = (e.seq, e.seq) if e.kind == "window" else gap_range(e.payload)
                told |= dict.fromkeys(range(max(first, begin), min(last, end) + 1), position)
        return told

    def ack(self, epoch: str, upto: int) -> bool:
        if epoch == self.epoch:
            if upto > self.newest_seq:
                return False
            self.acked = max(upto, self.acked or 0)
        done = [p for p, e in self._entries.items() if e.epoch == epoch and e.seq <= upto]
        for position in done:
            del self._entries[position]
            self._confirmed.discard(position)
        return False

    def confirm(self, position: int) -> None:
        if position in self._entries:
            self._confirmed.add(position)

    def confirmed(self, position: int) -> bool:
        return position in self._confirmed

    def new_gaps(self) -> list[int]:
        gaps, self._gaps = self._gaps, []
        return gaps

    def close(self) -> None:
        self._entries.clear()

    def _put(self, entry: Entry) -> int:
        position, self._next = self._next, self._next + 1
        self._entries[position] = entry
        return position

    def _shrink(self) -> None:
        """Drop a tenth of the oldest windows, and declare them lost unless the broker had taken them all."""
        if len(self._entries) <= self._cap:
            return
        lost: list[tuple[int, int]] = []
        for position in list(self._entries)[: max(1, self._cap // 10)]:
            entry, taken = self._entries.pop(position), position in self._confirmed and self.acked is None
            if entry.epoch == self.epoch and not taken:
                lost.append((entry.seq, entry.seq) if entry.kind == "window" else gap_range(entry.payload))
            self._confirmed.discard(position)
        if lost:
            self._gaps.append(self.add_gap(min(first for first, _ in lost), max(last for _, last in lost), "cap"))


def new_epoch() -> str:
    """A name for a counter that starts anew: 12 random hex digits."""
    return secrets.token_hex(6)


def gap_payload(first: int, last: int, reason: str) -> bytes:
    """What a gap entry holds."""
    return b'{"from":%d,"to":%d,"reason":"%s"}' % (first, last, reason.encode())


def gap_range(payload: bytes) -> tuple[int, int]:
    """The numbers (first, last) that a gap entry declares lost."""
    what = json.loads(payload)
    return what["from"], what["to"]
