"""Counts starts that did not end well; after 5 in 10 minutes the agent starts in safe mode: MQTT and status only.

A start is written to disk before anything risky, and taken back after a clean end or 60 s of life. The file is read
before the camera, the model and the configuration of both are touched, so that none of them can end a start unseen.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from agent.trust.files import make_private, write_atomically

CRASHES: Final = 5
SPAN_S: Final = 600.0
"""So many starts on record within so many seconds are a crash loop: with the service manager's pause and the time until
the camera is open, five that end after a minute of work take seven minutes."""
WINDOW_S: Final = 60.0
"""A start that lives so long is a good one, seconds; a safe one is followed by a normal one."""
_NAME: Final = "starts.json"


class Starts:
    """The record of recent starts, in the state folder. A disk that cannot be written counts as no record.

    clock: seconds that survive a restart of the process and no change of the wall clock (CLOCK_BOOTTIME)
    """

    def __init__(
        self, state_dir: Path, *, clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    ) -> None:
        self._path = state_dir / _NAME
        self._clock = clock
        self._mine: float | None = None

    def begin(self) -> bool:
        """Record this start; return True if it must be a safe one."""
        now = self._clock()
        recent = _in_a_row(self._read(), now)
        self._mine = now
        self._write([*recent, now][-CRASHES * 2 :])
        return len(recent) >= CRASHES

    def survived(self) -> None:
        """Forget all starts: this one ended well, or has lived for `WINDOW_S`."""
        self._mine = None
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _read(self) -> list[float]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        if not isinstance(found, list):
            return []
        return [float(t) for t in found if isinstance(t, int | float) and not isinstance(t, bool) and math.isfinite(t)]

    def _write(self, starts: list[float]) -> None:
        with contextlib.suppress(OSError):
            make_private(self._path.parent)
            write_atomically(self._path, json.dumps(starts).encode())


def _in_a_row(starts: list[float], now: float) -> list[float]:
    """Return the starts that count as crashes at `now`, seconds: none that is too old, nor any before a safe start that
    lived; times of the future are those before a reboot."""
    found: list[float] = []
    for start, after in pairwise([*(start for start in starts if start <= now), now]):
        lived = len(found) >= CRASHES and after - start > WINDOW_S
        found = [] if lived else [t for t in (*found, start) if after - t <= SPAN_S]
    return found
