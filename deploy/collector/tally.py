"""Counts what came in, and logs each kind of fault once a while; never a payload, a name or a secret."""

import logging
import threading
from collections import Counter
from typing import Final

log = logging.getLogger("fer.collector")

_MOST_REASONS: Final = 60
"""Kinds of refusal counted apart; whoever invents more shares "other"."""
_EVERY: Final = 1000
"""A fault that goes on is logged again at each multiple of this."""


class Tally:
    """Counters that any thread may raise and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Count something that is well."""
        with self._lock:
            self._counts[name] += count

    def refuse(self, reason: str) -> None:
        """Count a message that is not the contract's; log the first of its kind and every thousandth."""
        with self._lock:
            if reason not in self._refused and len(self._refused) >= _MOST_REASONS:
                reason = "other"
            self._refused[reason] += 1
            count = self._refused[reason]
        if count == 1 or count % _EVERY == 0:
            log.warning("event=message.refused reason=%r count=%d", reason, count)

    def snapshot(self) -> dict[str, int | dict[str, int]]:
        """Return all counters."""
        with self._lock:
            return {**self._counts, "refused": sum(self._refused.values()), "refused_by": dict(self._refused)}

    def refused(self) -> int:
        """Return how many messages were refused."""
        with self._lock:
            return sum(self._refused.values())
