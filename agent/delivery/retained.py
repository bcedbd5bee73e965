"""Remembers every retained topic that was ever published, so that a rename or removal can clear what it left."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from agent.trust.files import write_atomically

log = logging.getLogger("agent.delivery")

_LIST: Final = TypeAdapter(list[str])


class RetainedTopics:
    """A list in a file. A disk that cannot be written costs the memory of topics, not the delivery."""

    def __init__(self, path: Path | None) -> None:
        """Args: path: the file; None remembers nothing."""
        self._path = path
        self._topics: set[str] = set()
        if path is not None:
            with contextlib.suppress(OSError, ValueError):  # absent, or damaged in whatever way: begin anew
                self._topics = set(_LIST.validate_json(path.read_bytes()))

    def add(self, topic: str) -> None:
        """`topic` was, or is about to be, published retained."""
        if topic not in self._topics:
            self._topics.add(topic)
            self._save()

    def stale(self, current: set[str]) -> list[str]:
        """Topics published once and not any more: to be cleared with an empty message, then `forget`."""
        return sorted(self._topics - current)

    def forget(self, topic: str) -> None:
        """`topic` was cleared, and the broker said so."""
        if topic in self._topics:
            self._topics.discard(topic)
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            write_atomically(self._path, json.dumps(sorted(self._topics)).encode())
        except OSError as error:
            log.warning("event=retained.not_saved reason=%r", str(error))
