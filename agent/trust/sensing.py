"""May the camera be open right now? Schedule and pause in one answer, with each change in the audit log."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.config import Hours
from agent.errors import PolicyError
from agent.insight.schedule import is_open
from agent.trust.audit import AuditLog
from agent.trust.gpio import Light
from agent.trust.pause import Pause

LOCALTIME: Final = Path("/etc/localtime")


def local_zone(environ: dict[str, str] | None = None, localtime: Path = LOCALTIME) -> tzinfo:
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


class LocalZone:
    """Callable: the zone that this machine is in now. Whoever sets another one (`timedatectl set-timezone`) restarts
    nothing, and the hours of the zone of before would open the camera at the wrong time.

    Raises PolicyError as `local_zone` does.
    """

    def __init__(self, localtime: Path = LOCALTIME) -> None:
        self._localtime = localtime
        self._mark, self._zone = self._look(), local_zone(localtime=localtime)

    def __call__(self) -> tzinfo:
        """Return the zone; that of before while its file is being replaced."""
        if (mark := self._look()) not in (None, self._mark):
            self._mark, self._zone = mark, local_zone(localtime=self._localtime)
        return self._zone

    def _look(self) -> tuple[int, int] | None:
        """Return what another zone's file, or a newer one, has another of."""
        try:
            facts = self._localtime.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns


class Sensing:
    """Callable `sensing() -> str | None`: why the camera must be closed ("paused", "schedule"), or None.

    Asked for every frame, open or closed: pass it to `open_source` as `closed`. The gate asks `reason()` (`blocked`).
    light: goes on before the camera opens; goes off when it must be closed and `held` says that it is
    zone: the zone of the hours; that of this machine if unset
    clock: seconds since 1970, UTC
    """

    def __init__(
        self,
        schedule: Sequence[Hours],
        pause: Pause,
        audit: AuditLog | None = None,
        *,
        light: Light | None = None,
        zone: Callable[[], tzinfo] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._schedule, self._pause, self._audit, self._clock = tuple(schedule), pause, audit, clock
        self._zone = zone or (LocalZone() if schedule else lambda: UTC)
        self._light = light
        self._last: str | None = ""
        self.held: Callable[[], bool] = lambda: False
        """Whether the camera is not closed yet (`LiveCamera.held`); set by whoever opens it."""

    def reason(self) -> str | None:
        """Why sensing is off, "paused" before "schedule", or None; changes nothing."""
        reason = self._pause.reason()
        if reason is None and not is_open(self._schedule, self._clock(), self._zone()):
            return "schedule"
        return reason

    def __call__(self) -> str | None:
        """Return `reason()`, switch the light, and keep changes in the audit log."""
        reason = self.reason()
        if self._light is not None:
            if reason is None or self.held():
                self._light.on()
            else:
                self._light.off()
        if reason != self._last:
            self._last = reason
            if self._audit is not None:
                self._audit.note("mode", sensing="off" if reason else "on", reason=reason, local=self._pause.local)
        return reason
