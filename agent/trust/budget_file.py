"""The day's privacy budget on disk: spent before a result leaves, and closed whenever the file is not understood.

missing        closed for today and open again tomorrow, unless the audit log knows no earlier budget (a new device)
unreadable     the same; the file is kept beside it as budget.json.bad
of a later day closed until that day; untouched
newer version  closed; untouched
unwritable     closed
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from agent.insight.budget import WINDOWS_A_DAY, Spent, spend
from agent.trust.audit import AuditLog
from agent.trust.files import locked, write_atomically

log = logging.getLogger(__name__)

VERSION: Final = 1
_JUMP_S: Final = 7200.0
"""Seconds that the wall clock may gain on the boot clock within one boot and day, in one step or in many, before a new
day is not believed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by every clock that matters."""

    day: date
    """Local day."""
    wall_s: float
    """Seconds since 1970, UTC."""
    boot_s: float
    """Seconds since boot, sleep included."""
    boot_id: str


def moment() -> Moment:
    """Read this machine's clocks."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot_id = ""
    wall = time.time()
    return Moment(date.fromtimestamp(wall), wall, time.clock_gettime(time.CLOCK_BOOTTIME), boot_id)


class _UnreadableError(Exception):
    """The file holds no budget; the text says why."""


class _NewerError(_UnreadableError):
    """A newer version's: it stays as it is."""


class BudgetFile:
    """`agent.insight.budget.Budget` in a state folder, shared by every process that uses the folder."""

    def __init__(self, folder: Path, audit: AuditLog, now: Callable[[], Moment] = moment) -> None:
        self.path: Final = folder / "budget.json"
        self._lock: Final = folder / "budget.lock"
        self._audit, self._now = audit, now

    def spend(self) -> int | None:
        """Take one result of today: how many that makes; None if closed. Never raises for what is on the disk."""
        now = self._now()
        try:
            with locked(self._lock):
                before, gained = self._read(now)
                if before is None or (after := spend(before, now.day)) is None:
                    return None
                self._write(after, now, gained if after.day == before.day else 0.0)
        except OSError as error:
            log.error("event=budget.closed reason=%r path=%s", error.strerror, self.path)
            return None
        if after.windows == WINDOWS_A_DAY:
            self._audit.note("budget.closed", reason="spent", day=str(now.day))
        return after.windows

    def _read(self, now: Moment) -> tuple[Spent | None, float]:
        """What the file says, None if it must stay as it is and closed; and the seconds that the wall clock gained
        since that day was opened."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return self._opened(now), 0.0
        try:
            spent, gained = _parse(content, now)
        except _NewerError as why:
            log.error("event=budget.closed reason=%r path=%s", str(why), self.path)
            return None, 0.0
        except _UnreadableError as why:
            write_atomically(self.path.with_name("budget.json.bad"), content)
            return self._closed_today(now, str(why)), 0.0
        if spent.day > now.day:  # it may be for years: a clock was ahead
            later = (
                f"of a later day: expected {now.day}, got {spent.day}; if a clock was ahead, remove it: open tomorrow"
            )
            log.error("event=budget.closed reason=%r path=%s", later, self.path)
            return None, 0.0
        if gained > _JUMP_S and spent.day < now.day:
            # Written even if it is spent: from here on a day that really passes counts again.
            spent = replace(spent, day=now.day)
            self._write(spent, now)
            log.warning("event=budget.clock-jump day=%s spent=%d", now.day, spent.windows)
            return spent, 0.0
        return spent, gained

    def _opened(self, now: Moment) -> Spent:
        """A first budget on a new device; a lost one is closed for today."""
        if self._audit.has("budget.opened"):
            return self._closed_today(now, "missing")
        self._audit.append("budget.opened", day=str(now.day))
        return Spent(now.day, 0)

    def _closed_today(self, now: Moment, reason: str) -> Spent:
        spent = Spent(now.day, WINDOWS_A_DAY)
        self._write(spent, now)
        self._audit.note("budget.closed", reason=reason, day=str(now.day))
        log.error("event=budget.closed reason=%r path=%s", reason, self.path)
        return spent

    def _write(self, spent: Spent, now: Moment, gained: float = 0.0) -> None:
        state = {
            "version": VERSION,
            "day": spent.day.isoformat(),
            "windows": spent.windows,
            "wall_s": round(now.wall_s - gained, 3),
            "boot_s": round(now.boot_s, 3),
            "boot_id": now.boot_id,
        }
        write_atomically(self.path, json.dumps(state).encode() + b"\n")


def _parse(content: bytes, now: Moment) -> tuple[Spent, float]:
    """What was spent, and the seconds that the wall clock gained on the boot clock since that day was opened; 0 after
    another boot."""
    try:
        state = json.loads(content)
        version = state["version"]
        if version > VERSION:
            raise _NewerError(f"a newer version: expected {VERSION}, got {version}")
        windows = state["windows"]
        if version != VERSION or not isinstance(windows, int) or isinstance(windows, bool):
            raise _UnreadableError("not a budget")
        spent = Spent(date.fromisoformat(state["day"]), windows)
        gained = (now.wall_s - float(state["wall_s"])) - (now.boot_s - float(state["boot_s"]))
        if not math.isfinite(gained):  # JSON of Python knows NaN, which no comparison would call a jump
            raise _UnreadableError("not a budget")
        same_boot = state["boot_id"] == now.boot_id
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as cause:
        raise _UnreadableError("not a budget") from cause
    return spent, gained if same_boot else 0.0
