"""Which pictures of a stream are old: newer ones wait behind them. State alone: no IO, and no clock of its own."""

from collections import deque
from typing import Final

_LATE_S: Final = 1.0
"""A picture this much later than the stream's promptest is old, seconds: more than the jitter of a busy network."""
_CATCH_UP_S: Final = 2.0
"""Longest that old pictures are passed over, seconds: a stream whose times are nonsense still shows something."""
_PACE: Final = 5
"""So many pictures in a row that come no faster than they were taken came out of no queue."""
_DRIFT: Final = 1e-3
"""How far the camera's clock may be from ours, seconds a second: ten times what a bad quartz is."""


class Backlog:
    """Add pictures in order. Single-threaded.

    FFmpeg holds what came while it looked at a stream to learn its codec (2-5 s); the network what came while it, or
    this device, was stuck. Both hand it out as fast as it is taken.

    Parameters
    ----------
    began : when the stream's opening began, seconds of our clock: no picture was taken before
    """

    def __init__(self, began: float) -> None:
        self.late_s = 0.0
        """How much later than the promptest the last picture came, seconds; it grows where decoding is too slow."""
        self._began = began
        self._taken: float | None = None
        self._since: float | None = None
        self._best = self._came = 0.0
        self._number = 0
        self._first: deque[tuple[float, float]] | None = deque(maxlen=_PACE)

    def behind(self, taken: float, now: float) -> bool:
        """Return whether the picture taken at `taken`, seconds of the stream's clock, and come at `now` is an old one.

        A stream without times (its clock stands still: HTTP MJPEG, which FFmpeg does not hold back) is never behind,
        save its first two pictures, where it took long to open: FFmpeg gives those the same time in any stream.
        """
        step = 0.0 if self._taken is None else taken - self._taken
        gap = now - self._came if self._number else 0.0
        self._number += 1
        self._taken, self._came = taken, now
        if self._number == 1:
            self._best = self._began - taken
        elif step < 0 or (step == 0 and self._number > 2):  # no clock, or set anew: the old one is worth nothing
            self._best, self._first = now - taken, None
        self._learn(step, gap, now)
        self._best = min(self._best + _DRIFT * gap, now - taken)
        self.late_s = now - taken - self._best
        if self.late_s <= _LATE_S:
            self._since = None
            return False
        self._since = now if self._since is None else self._since
        if now - self._since <= _CATCH_UP_S:
            return True
        self._since = now
        return False

    def _learn(self, step: float, gap: float, now: float) -> None:
        """Learn once, when the queue of the opening is empty, how late this stream is when it is prompt."""
        if self._first is None or self._taken is None or step <= 0:
            return
        self._first.append((step, gap))
        if len(self._first) == _PACE and sum(g for _, g in self._first) >= 0.5 * sum(s for s, _ in self._first):
            self._best, self._first = now - self._taken, None
