"""The spool as two threads use it: the loop adds, the courier reads. If the disk fails, it goes on in memory."""

import logging
import threading
import time
from collections.abc import Callable

from agent.delivery.disk import DiskSpool
from agent.delivery.memory import Build, Entry, MemorySpool, Spool

log = logging.getLogger("agent.delivery")

_NEWEST_AGAIN = 60
"""Without any collector: windows that are sent again after a connect although the broker had taken them."""
_TIMED = 1000
"""Newest windows whose time of coming is known, far more than are ever fresh: a broker may stay away for months."""


class SharedSpool:
    """A lock around a spool, the time at which each window came, and the way out when the disk fails."""

    def __init__(self, opener: Callable[[], Spool] = MemorySpool) -> None:
        """Args: opener: makes the spool on disk; its OSError means memory from the start."""
        self._lock = threading.Lock()
        self._came: dict[int, float] = {}
        self._spool: Spool
        self._failed: str | None = None
        try:
            self._spool = opener()
        except OSError as error:
            self._spool = self._in_memory(error, None)

    @property
    def trouble(self) -> str | None:
        """Why windows are only in memory, or the oldest ones are given up; or None."""
        return self._failed or self._spool.trouble

    @property
    def epoch(self) -> str:
        return self._spool.epoch

    @property
    def newest_seq(self) -> int:
        return self._spool.newest_seq

    @property
    def acked(self) -> int | None:
        return self._spool.acked

    def add(self, build: Build) -> list[int]:
        """Keep a window; return its position, and those of gaps that had to be declared for it."""
        with self._lock:
            try:
                position = self._spool.add(build)
            except OSError as error:
                self._spool = self._in_memory(error, self._spool)
                position = self._spool.add(build)
            self._came[position] = time.monotonic()
            if len(self._came) > _TIMED:
                del self._came[next(iter(self._came))]
            return [*self._spool.new_gaps(), position]

    def read(self, position: int) -> Entry | None:
        with self._lock:
            return self._spool.read(position)

    def ack(self, epoch: str, upto: int) -> bool:
        """A collector has everything of `epoch` up to `upto`; whether that made a new epoch begin."""
        with self._lock:
            believed = epoch != self._spool.epoch or upto <= self._spool.newest_seq
            try:
                return self._spool.ack(epoch, upto)
            except OSError as error:
                self._spool = self._in_memory(error, self._spool)
                if believed:
                    self._spool.ack(epoch, upto)
                return True

    def confirm(self, position: int) -> None:
        with self._lock:
            self._came.pop(position, None)
            self._spool.confirm(position)

    def find(self, first: int, last: int) -> dict[int, int]:
        """seq → position of what tells of these numbers of this epoch: kept windows, and gaps that were declared."""
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

    def close(self, *, crashed: bool = False) -> None:
        """The end; a crash is left unmarked, so that the next start declares the window that was open. A thread that
        still holds this finds an empty spool with the same counter from now on: the files are closed, and their
        descriptors may be somebody else's."""
        with self._lock:
            closed = MemorySpool()
            closed.epoch, closed.newest_seq, closed.acked = self.epoch, self.newest_seq, self.acked
            if crashed and isinstance(self._spool, DiskSpool):
                self._spool.release()
            else:
                self._spool.close()
            self._spool = closed

    def _unsent(self) -> list[int]:
        """All that is not acknowledged. Where no collector ever acknowledged: what the broker did not take, and
        the newest few, which a broker that died may have lost."""
        waiting = self._spool.pending()
        if self._spool.acked is not None:
            return waiting
        newest = set(waiting[-_NEWEST_AGAIN:])
        return [p for p in waiting if p in newest or not self._spool.confirmed(p)]

    def _in_memory(self, error: OSError, failed: Spool | None) -> Spool:
        """Rescue what can still be read; the new epoch says that the counter starts anew."""
        self._failed = f"spool in memory: {error.strerror or error}"
        log.error("event=spool.in_memory reason=%r windows are lost if the agent stops", str(error))
        rescued = {}
        if failed is not None:
            rescued = {p: e for p in failed.pending() if (e := failed.read(p)) is not None}
        if isinstance(failed, DiskSpool):
            failed.release()
        return MemorySpool(rescued)
