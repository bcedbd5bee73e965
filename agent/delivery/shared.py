"""The spool as two threads use it: the loop adds, the courier reads. Remembers when each window came."""

import threading
import time

from agent.delivery.memory import Build, Entry, Spool


class SharedSpool:
    """A lock around a spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._came: dict[int, float] = {}

    @property
    def epoch(self) -> str:
        return self._spool.epoch

    @property
    def newest_seq(self) -> int:
        return self._spool.newest_seq

    def add(self, build: Build) -> int:
        """Keep a window; return its position."""
        with self._lock:
            position = self._spool.add(build)
            self._came[position] = time.monotonic()
            return position

    def read(self, position: int) -> Entry | None:
        with self._lock:
            return self._spool.read(position)

    def ack(self, epoch: str, upto: int) -> None:
        with self._lock:
            self._spool.ack(epoch, upto)

    def confirm(self, position: int) -> None:
        with self._lock:
            self._came.pop(position, None)
            self._spool.confirm(position)

    def find(self, first: int, last: int) -> dict[int, int]:
        with self._lock:
            return self._spool.find(first, last)

    def backlog(self, fresh_since: float) -> tuple[list[int], list[int]]:
        """Positions to send after a connect, as (live, late), each oldest first."""
        with self._lock:
            waiting = self._unsent()
            live = [p for p in waiting if self._came.get(p, float("-inf")) >= fresh_since]
            fresh = set(live)
            return live, [p for p in waiting if p not in fresh]

    def depth(self) -> tuple[int, int]:
        """(entries that wait for an ack, bytes kept)."""
        with self._lock:
            return len(self._spool.pending()), self._spool.size

    def close(self) -> None:
        with self._lock:
            self._spool.close()

    def _unsent(self) -> list[int]:
        """All that is not acknowledged. Where no collector ever acknowledged: what the broker did not take, and
        the newest 60, which a broker that died may have lost."""
        waiting = self._spool.pending()
        if self._spool.acked is not None:
            return waiting
        newest = set(waiting[-60:])
        return [p for p in waiting if p in newest or not self._spool.confirmed(p)]
