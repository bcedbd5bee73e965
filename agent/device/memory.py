"""How much memory this process uses, and when it should end itself before the system kills something else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LIMIT_SHARE: Final = 0.9
"""Share of the control group's limit at which the agent ends by itself, cleanly, to be started anew."""
_UNLIMITED: Final = 1 << 60


def rss_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Return resident memory of this process, bytes; 0 where it cannot be read."""
    try:
        return int(statm.read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def group_limit(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory limit of this process' control group (MemoryMax of the unit), bytes; None without one."""
    try:
        rows = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return None
    limits = []
    for number, controllers, group in rows:
        if number == "0":
            limits.append(_limit(root / group.strip("/") / "memory.max"))
        elif "memory" in controllers.split(","):
            limits.append(_limit(root / "memory" / group.strip("/") / "memory.limit_in_bytes"))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(path: Path) -> int | None:
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return value if value < _UNLIMITED else None


class MemoryBound:
    """Says when to end cleanly: above 0.9 of the limit. Ask it every few seconds."""

    def __init__(self, limit: int | None, used: Callable[[], int] = rss_bytes) -> None:
        self.limit = limit
        self._used = used

    def exceeded(self) -> bool:
        """Say whether the agent should stop now, so that its last window is flagged and nothing is torn."""
        return self.limit is not None and self._used() > _LIMIT_SHARE * self.limit
