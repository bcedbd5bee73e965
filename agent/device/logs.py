"""Logs for the journal: one line an event, `event=` names, repeats held back, and never the end of the agent.

Messages are written as `event=name key=value …` by whoever logs. Under systemd a line starts with its priority
(<3> error … <7> debug) and has no time of its own; on a terminal it has both. No payload, secret or person in any.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

_PRIORITY: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
_PAIR: Final = re.compile(r"""([a-z_]+)=("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S+)""")
_BURST: Final = 5
_EVERY_S: Final = 60.0
"""More than 5 equal events within 60 s are counted, not written."""
_NAMES_KEPT: Final = 500
"""Different events remembered: memory stays bounded whatever is logged."""


class OneLine(logging.Formatter):
    """An event on one line, as text or JSON."""

    def __init__(self, kind: Literal["text", "json"], *, journal: bool) -> None:
        super().__init__()
        self._kind, self._journal = kind, journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f" error={type(error).__name__} reason={str(error)!r}"
        text = text.replace("\n", "\\n").replace("\r", "\\r")
        if self._kind == "json":
            return self._prefix(record, stamp=False) + json.dumps(self._fields(record, text), ensure_ascii=False)
        return self._prefix(record, stamp=True) + text

    def _prefix(self, record: logging.LogRecord, *, stamp: bool) -> str:
        if self._journal:
            return f"<{next(p for level, p in _PRIORITY if record.levelno >= level)}>"
        if not stamp:
            return ""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{at} {record.levelname.lower():7} "

    def _fields(self, record: logging.LogRecord, text: str) -> dict[str, str]:
        fields = {"level": record.levelname.lower(), "logger": record.name}
        pairs = {key: value.strip("\"'") for key, value in _PAIR.findall(text)}
        told = "event" in pairs and not _PAIR.sub("", text).strip()  # words outside of the pairs are part of it, too
        return fields | (pairs if "event" in pairs else {}) | ({} if told else {"message": text})


class RateLimit(logging.Filter):
    """Lets 5 equal events a minute pass; the next one that passes says how many were held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` is written."""
        event = _PAIR.search(record.getMessage())  # of lines that name it by an argument, too
        name = f"{record.name}:{record.msg}:{event and event[0]}"
        now = self._clock()
        since, count = self._seen.pop(name, (now, 0))
        held = 0
        if now - since >= _EVERY_S:
            held, since, count = max(0, count - _BURST), now, 0
        self._seen[name] = (since, count + 1)
        if len(self._seen) > _NAMES_KEPT:
            del self._seen[next(iter(self._seen))]
        if held:
            record.msg, record.args = f"{record.getMessage()} held_back={held}", ()
        return count < _BURST


class Stderr(logging.Handler):
    """Writes to file descriptor 2; a closed or full one loses lines, never the agent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, whole or not at all."""
        try:
            os.write(2, (self.format(record) + "\n").encode("utf-8", "replace"))
        except (OSError, ValueError, TypeError):
            return


def set_up(
    kind: Literal["text", "json"] = "text", level: int = logging.INFO, environ: Mapping[str, str] | None = None
) -> None:
    """Send every logger's lines to stderr in this project's form. Call once, first."""
    environ = os.environ if environ is None else environ
    handler = Stderr()
    handler.setFormatter(OneLine(kind, journal="JOURNAL_STREAM" in environ or "INVOCATION_ID" in environ))
    handler.addFilter(RateLimit())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False
    # An unhandled error anywhere is one line too.
    sys.excepthook = lambda kind_, error, _: logging.getLogger("agent").critical(
        "event=crash error=%s reason=%r", kind_.__name__, str(error)
    )
