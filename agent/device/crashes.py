"""Counts starts that did not end well; after 5 in 60 s the agent starts in safe mode: MQTT and status only.

A start is written to disk before anything risky, and taken back after a clean end or 60 s of life. The file is read
before the camera, the model and the configuration of both are touched, so that none of them can end a start unseen.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

CRASHES: Final = 5
WINDOW_S: Final = 60.0
"""So many starts within so many seconds are a crash loop."""
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
        recent = [t for t in self._read() if 0 <= now - t <= WINDOW_S]
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
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w") as file:
                json.dump(starts, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
