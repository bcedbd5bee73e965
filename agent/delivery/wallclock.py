"""From a frame's time to the wall clock: a label for people, never a duration."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

Source = Literal["ntp", "rtc", "none", "media", "simulated"]


class WallTime(NamedTuple):
    """One moment on the wall clock."""

    utc_ms: int
    """Milliseconds since 1970, UTC."""
    synced: bool
    """The clock was disciplined."""
    source: str
    """Where it came from, see `Source`."""


WallClock = Callable[[float], WallTime]
"""Maps a frame's time (seconds, the frames' monotonic clock) to the wall clock."""


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return round(time.time() * 1000)


def system_clock(at: float) -> WallTime:
    """Take `at` as `time.monotonic()` and the system clock as it is now; claims no synchronisation."""
    return WallTime(round((time.time() - (time.monotonic() - at)) * 1000), synced=False, source="none")


def media_clock(start_ms: int | None = None) -> WallClock:
    """A clock for files: media second 0 is `start_ms` (now, if None)."""
    start = now_ms() if start_ms is None else start_ms
    return lambda at: WallTime(start + round(at * 1000), synced=False, source="media")
