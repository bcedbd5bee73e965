"""May the camera be open right now? Schedule and pause in one answer, with each change in the audit log."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.config import Hours
from agent.errors import PolicyError
from agent.insight.schedule import is_open
from agent.trust.audit import AuditLog
from agent.trust.pause import Pause


def local_zone(environ: dict[str, str] | None = None, localtime: Path = Path("/etc/localtime")) -> tzinfo:
    """This machine's time zone with its rules: $TZ, else /etc/localtime, else UTC (as the C library has it).

    Raises PolicyError for a $TZ that is unknown: hours in a wrong zone would open the camera at the wrong time.
    """
    name = (os.environ if environ is None else environ).get("TZ", "").lstrip(":")
    if name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
            raise PolicyError(f"TZ: expected a time zone such as Europe/Berlin, got {name!r}") from cause
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return UTC


class Sensing:
    """Callable `sensing() -> str | None`: why the camera must be closed ("paused", "schedule"), or None.

    Asked for every frame and every second while closed. Pass the same object to the gate as `blocked`.
    clock: seconds since 1970, UTC
    """

    def __init__(
        self,
        schedule: Sequence[Hours],
        pause: Pause,
        audit: AuditLog | None = None,
        *,
        zone: tzinfo | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._schedule, self._pause, self._audit, self._clock = tuple(schedule), pause, audit, clock
        self._zone = zone or (local_zone() if schedule else UTC)
        self._last: str | None = ""

    def __call__(self) -> str | None:
        """Return the reason, "paused" before "schedule"."""
        reason = self._pause.reason()
        if reason is None and not is_open(self._schedule, self._clock(), self._zone):
            reason = "schedule"
        if reason != self._last:
            self._last = reason
            if self._audit is not None:
                self._audit.note("mode", sensing="off" if reason else "on", reason=reason, local=self._pause.local)
        return reason
