"""What to send next: live windows at once, the backlog oldest first at a bounded rate. No IO, no clock, no threads."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_IN_FLIGHT: Final = 16
"""Most messages without a PUBACK; mosquitto's default receive maximum is 20."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the spool to be sent."""

    position: int
    replay: bool
    """It is late."""


class Outbox:
    """Two lanes of positions in the spool, and what is in flight."""

    def __init__(self, rate: float) -> None:
        """Args: rate: most late entries sent per second."""
        self._rate = rate
        self._live: deque[int] = deque()
        self._late: deque[int] = deque()
        self._queued: set[int] = set()
        self._flying: dict[int, Item] = {}
        self._earliest = 0.0

    def add_live(self, position: int) -> None:
        """A window just closed."""
        if position not in self._queued and position not in self.in_flight():
            self._queued.add(position)
            self._live.append(position)

    def add_late(self, positions: Iterable[int], not_before: float = 0.0) -> None:
        """Append to the backlog what is not queued or in flight yet; start no earlier than `not_before`."""
        known = self._queued.union(self.in_flight())
        fresh = [p for p in dict.fromkeys(positions) if p not in known]
        self._queued.update(fresh)
        self._late.extend(fresh)
        self._earliest = max(self._earliest, not_before)

    def next(self, now: float) -> Item | None:
        """What to send now, or None: nothing to send, enough in flight, or too early. Call `sent` after sending."""
        if len(self._flying) >= _IN_FLIGHT:
            return None
        if self._live:
            return self._take(self._live, replay=False)
        if self._late and now >= self._earliest:
            self._earliest = max(self._earliest + 1 / self._rate, now - 0.5)
            return self._take(self._late, replay=True)
        return None

    def wait(self, now: float) -> float | None:
        """Seconds until `next` may have something by time alone; None if only an event can change that."""
        if len(self._flying) >= _IN_FLIGHT:
            return None
        if self._live:
            return 0.0
        return max(0.0, self._earliest - now) if self._late else None

    def sent(self, mid: int, item: Item) -> None:
        """`item` went out as the packet `mid`."""
        self._flying[mid] = item

    def taken(self, mid: int) -> Item | None:
        """The broker answered for the packet `mid`: what it was, or None if it is not ours."""
        return self._flying.pop(mid, None)

    def reset(self) -> None:
        """The connection is gone: forget all that was queued or in flight. The spool still has it."""
        self._live.clear()
        self._late.clear()
        self._queued.clear()
        self._flying.clear()
        self._earliest = 0.0

    def in_flight(self) -> list[int]:
        """Positions that were sent and not answered."""
        return [item.position for item in self._flying.values()]

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing in flight."""
        return not (self._queued or self._flying)

    def _take(self, lane: deque[int], *, replay: bool) -> Item:
        position = lane.popleft()
        self._queued.discard(position)
        return Item(position, replay)
