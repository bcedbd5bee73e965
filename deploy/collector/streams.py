"""Orders each stream: what is complete and can be acknowledged, what is missing and must be asked for again.

No IO and no clock: times come in, in monotonic seconds. One thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from deploy.collector.ranges import Ranges

REORDER_S: Final = 3.0
"""A hole younger than this is a message under way (or in another collector's batch)."""
RETRY_S: Final = (10.0, 30.0, 60.0, 120.0, 300.0)
"""Pauses between asking again for the same hole; the last one repeats for ever."""
ANSWERS: Final = 3
"""The agent answered this often that it has sent all it has, its windows do arrive, and the hole stays: lost."""
SILENCE_S: Final = 300.0
"""An older epoch of which nothing came for this long after its agent connected anew has nothing more to come."""
LONGEST_ASK: Final = 1000
"""Most windows asked for at once."""
_MOST_AHEAD: Final = 100_000
"""Ranges of numbers remembered beyond a hole, of stored ones and of lost ones each; the database knows the rest."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Missing sequence numbers of one stream, both ends included."""

    stream: int
    first: int
    last: int


@dataclass(slots=True)
class _Stream:
    upto: int
    """All up to here is stored or known to be lost."""
    newest: int = 0
    """Highest sequence number known to exist."""
    ahead: Ranges = field(default_factory=lambda: Ranges(_MOST_AHEAD))
    """Stored, beyond the hole."""
    lost: Ranges = field(default_factory=lambda: Ranges(_MOST_AHEAD))
    gone: list[tuple[int, int]] = field(default_factory=list)
    """What `upto` has moved over without a window that this collector knows of, since that was last taken."""
    acked: int = -1
    heard: float = 0.0
    """When a window came last that was not there."""
    quiet_since: float = 0.0
    """When `upto` last moved, or the hole was last asked for."""
    found: float = 0.0
    """When the hole first outlived its timer."""
    asked: int = 0
    answered: int = 0
    sure: int = 0
    """Last number that every one of those answers was about."""

    def advance(self, at: float) -> None:
        """Move `upto` over what is stored or lost. Once after a batch, not after each of its messages."""
        before = self.upto
        while (end := self._end(self.upto + 1)) > self.upto:
            self.upto = end
        if self.upto != before:
            self.quiet_since, self.asked, self.answered = at, 0, 0
            self.ahead.drop(self.upto)
            self.lost.drop(self.upto)
        self.newest = max(self.newest, self.upto)

    def _end(self, seq: int) -> int:
        if (stored := self.ahead.end(seq)) is not None:
            return stored
        # Nobody can have lost what was never used: a declaration counts as far as numbers are known to exist.
        end = min(self.lost.end(seq) or 0, self.newest)
        if (stored := self.ahead.after(seq)) is not None:
            end = min(end, stored - 1)
        if end >= seq:
            self.gone.append((seq, end))
        return end

    def hole(self) -> tuple[int, int] | None:
        if self.newest <= self.upto:
            return None
        first = self.upto + 1
        starts = (self.ahead.after(first), self.lost.after(first))
        return first, min([self.newest, *(start - 1 for start in starts if start is not None)])


class Streams:
    """Every stream that this collector saw. add / reach / mark_all_lost / due / asked / answered / moved / acked."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def __contains__(self, stream: int) -> bool:
        return stream in self._streams

    def open(self, stream: int, upto: int, at: float) -> None:
        """Start with what the database says is complete."""
        self._streams[stream] = _Stream(upto=upto, newest=upto, quiet_since=at)

    def add(self, stream: int, seqs: Iterable[int], at: float) -> None:
        """Note stored windows."""
        s = self._streams[stream]
        if s.newest <= s.upto:
            s.quiet_since = at
        for seq in seqs:
            if seq > s.upto and seq not in s.ahead:
                s.heard = at
            if seq <= s.acked:
                s.acked = -1  # who sends it again has not heard that it may forget it
            s.newest = max(s.newest, seq)
            if seq > s.upto:
                s.ahead.add(seq, seq)
        s.advance(at)

    def reach(self, stream: int, upto: int, at: float) -> None:
        """Note that all up to here is stored or lost: another collector has it, or an earlier room of the device."""
        s = self._streams[stream]
        if upto > s.upto:
            s.newest = max(s.newest, upto)
            s.ahead.add(s.upto + 1, upto)
            s.advance(at)

    def mark_all_lost(self, stream: int, gaps: Iterable[tuple[int, int]], at: float) -> None:
        """Note ranges of windows that do not exist any more."""
        s = self._streams[stream]
        for first, last in gaps:
            if last > s.upto:
                s.lost.add(first, last)
        s.advance(at)

    def expect(self, stream: int, newest: int, at: float) -> None:
        """Note that windows up to `newest` exist somewhere."""
        s = self._streams[stream]
        if newest > s.newest:
            s.newest, s.quiet_since = newest, at
            s.advance(at)

    def due(self, at: float) -> list[Hole]:
        """Return the holes that have outlived their timer."""
        found = []
        for stream, s in self._streams.items():
            wait = REORDER_S if s.asked == 0 else RETRY_S[min(s.asked, len(RETRY_S)) - 1]
            if s.newest > s.upto and at - s.quiet_since >= wait and (hole := s.hole()):
                found.append(Hole(stream, *hole))
        return found

    def asked(self, hole: Hole, at: float) -> Hole:
        """Note that a hole is being asked for; return the part of it to ask for now."""
        s = self._streams[hole.stream]
        if s.asked == 0:
            s.found = at
        s.asked += 1
        s.quiet_since = at
        return Hole(hole.stream, hole.first, min(hole.last, hole.first + LONGEST_ASK - 1))

    def answered(self, part: Hole) -> None:
        """Note that the agent sent again what it has of what `asked` returned, and that what it sends arrives."""
        s = self._streams[part.stream]
        if s.asked and s.upto + 1 == part.first:
            s.sure = min(s.sure, part.last) if s.answered else part.last
            s.answered += 1

    def hopeless(self, hole: Hole) -> Hole | None:
        """Return what of the hole is to be given up: the agent was asked for it often enough, and answered."""
        s = self._streams[hole.stream]
        return Hole(hole.stream, hole.first, min(hole.last, s.sure)) if s.answered >= ANSWERS else None

    def silent(self, hole: Hole, since: float, at: float) -> bool:
        """Whether the hole was known at `since`, and nothing of its stream has come for long after that."""
        s = self._streams[hole.stream]
        return bool(s.asked) and s.found < since and at - max(since, s.heard) >= SILENCE_S

    def upto(self, stream: int) -> int:
        """Return up to where a stream is complete."""
        return self._streams[stream].upto

    def moved(self) -> dict[int, int]:
        """Return stream → upto for all that moved since it was last acknowledged."""
        return {stream: s.upto for stream, s in self._streams.items() if s.upto != s.acked and s.upto > 0}

    def acked(self, upto: dict[int, int]) -> None:
        """Note what has been acknowledged."""
        for stream, seq in upto.items():
            self._streams[stream].acked = seq

    def take_gone(self) -> dict[int, list[tuple[int, int]]]:
        """Return stream → ranges that became complete without a window, as far as is known here; each once."""
        found = {}
        for stream, s in self._streams.items():
            if s.gone:
                found[stream], s.gone = s.gone, []
        return found
