"""From the frames' monotonic clock to the wall clock, and whether the wall clock can be trusted."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.delivery.wallclock import WallTime

_STA_UNSYNC: Final = 0x0040
"""adjtimex(2): the clock is not disciplined."""
_TIME_ERROR: Final = 5
"""adjtimex(2): return value of a clock that is not synchronised."""
_TIMEX_BYTES: Final = 256
"""More than sizeof(struct timex) on every Linux."""
_STATUS_OFFSET: Final = 5 * ctypes.sizeof(ctypes.c_long)
"""Offset of `int status`: unsigned modes (padded), then offset, freq, maxerror, esterror (longs)."""
_TIMESYNC: Final = Path("/run/systemd/timesync/synchronized")
_STEP_S: Final = 1.0
"""A jump of wall against boot time larger than this is a step: slewing moves 0.5 ms a second at most."""


@dataclass(frozen=True)
class Step:
    """The wall clock was set."""

    by_s: float
    """Seconds, positive forwards."""
    synced: bool
    """Whether it is disciplined now."""


def kernel_synced() -> bool | None:
    """Say whether the kernel's clock is disciplined; None where that cannot be read (a sandbox)."""
    try:
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value
    return state != _TIME_ERROR and not status & _STA_UNSYNC


def synced() -> bool:
    """Say whether the wall clock can be trusted; a clock of which nothing is known cannot."""
    kernel = kernel_synced()
    return _TIMESYNC.exists() if kernel is None else kernel


class DeviceClock:
    """Maps frame times to the wall clock; callable, as `delivery.wallclock.WallClock` asks. Durations never use it.

    The offset is read anew for every label, so a clock set after boot corrects later labels and no duration: those
    come from the monotonic clock alone.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        is_synced: Callable[[], bool] = synced,
    ) -> None:
        """Args: boot: goes on while the machine sleeps, as the wall clock does: a sleep is no step."""
        self._wall, self._monotonic, self._boot, self._is_synced = wall, monotonic, boot, is_synced
        self._offset = wall() - boot()

    def __call__(self, at: float) -> WallTime:
        """Return the wall time of monotonic second `at`."""
        good = self._is_synced()
        offset = self._wall() - self._monotonic()
        return WallTime(round((at + offset) * 1000), synced=good, source="ntp" if good else "none")

    def step(self) -> Step | None:
        """Return how far the wall clock was set since the last call; None if it was not."""
        offset = self._wall() - self._boot()
        by = offset - self._offset
        self._offset = offset
        return Step(by, self._is_synced()) if abs(by) > _STEP_S else None
