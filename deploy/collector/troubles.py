"""Whether broker and database are there, and since when: what the page must not blame the rooms for."""

import json
from typing import Any, Final, Protocol

from agent.delivery.wallclock import now_ms

NAMES: Final = ("broker", "database")


class Collecting(Protocol):
    """What a page knows of the collector in its process; one that only shows a database has none."""

    @property
    def connected(self) -> bool:
        """Whether there is a broker."""

    @property
    def storing(self) -> bool:
        """Whether the database took what was written last."""


class Troubles:
    """Of one page's server. One thread: its event loop."""

    def __init__(self) -> None:
        self._away = dict.fromkeys(NAMES, False)
        self._since = dict.fromkeys(NAMES, now_ms())

    def note(self, name: str, *, away: bool) -> bool:
        """Note how "broker" or "database" is; whether that is news."""
        if self._away[name] == away:
            return False
        self._away[name], self._since[name] = away, now_ms()
        return True

    def away(self, name: str) -> bool:
        """Whether it is away now."""
        return self._away[name]

    def told(self) -> dict[str, str | None]:
        """Return what pages are told: null or "away" of each."""
        return {name: "away" if self._away[name] else None for name in NAMES}

    def event(self) -> str:
        """Return it as a server-sent event."""
        return f"event: trouble\ndata: {json.dumps(self.told())}\n\n"

    def since(self) -> dict[str, dict[str, Any]]:
        """Return of each how it is, and since when, UTC milliseconds."""
        return {name: {"away": self._away[name], "since_ms": self._since[name]} for name in NAMES}
