"""The audit log: one JSON line for every change of mode, policy, configuration, model and ε, each hashed onto the last.

Law: append only, and no measurement ever: details are short words and counts that people set, not what was seen.
`audit.head` beside it holds the last entry's number and hash, so that a cut end is found too. Who can write both
files can forge both: note the head elsewhere and pass it to `verify`.
"""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from agent.trust.files import locked, make_private, write_atomically

log = logging.getLogger(__name__)

Event = Literal[
    "agent.start", "agent.stop", "mode", "policy", "config", "budget.opened", "budget.closed",
    "model.installed", "model.committed", "model.rolled-back", "model.refused", "audit.repaired",
]  # fmt: skip
"""Everything that is ever logged."""
Detail = str | int | bool | None

_FIRST: Final = "0" * 64
"""`prev` of the first entry."""
_MAX_TEXT: Final = 300
"""Longest text of a detail, characters."""
_PATIENCE: Final = 100
"""Times that `verify` looks again at a last line without an end, before it takes it for torn …"""
_PAUSE_S: Final = 0.01
"""… and the pause before each, seconds."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry: its number, counted from 1, and its hash; (0, zeros) before the first."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read "NUMBER:HASH". Raises ValueError."""
        number, _, digest = text.strip().partition(":")
        if not number.isdecimal() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"expected NUMBER:SHA256, got {text.strip()[:80]!r}")
        return cls(int(number), digest)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    number: int
    at: str
    """UTC, ISO 8601: a label; the order is the numbers'."""
    event: str
    detail: dict[str, Detail]
    prev: str
    """Hash of the entry before."""

    @property
    def hash(self) -> str:
        """SHA-256 of the entry's own JSON, `prev` included."""
        return hashlib.sha256(_json(self._plain()).encode()).hexdigest()

    def line(self) -> bytes:
        """The entry as it stands in the file."""
        return (_json({**self._plain(), "hash": self.hash}) + "\n").encode()

    def _plain(self) -> dict[str, Any]:
        return {"n": self.number, "at": self.at, "event": self.event, "detail": self.detail, "prev": self.prev}


class AuditLog:
    """The log in a state folder; safe with several processes. Nothing is opened before the first `append`.

    now: the wall clock, for the label alone.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path: Final = folder / "audit.log"
        self.head_path: Final = folder / "audit.head"
        self._lock: Final = folder / "audit.lock"
        self._now = now

    def append(self, event: Event, **detail: Detail) -> Head:
        """Add one entry, on the disk when this returns. Raises OSError where it cannot be written, ValueError for
        what is no event or no detail."""
        if event not in get_args(Event):
            raise ValueError(f"expected one of {', '.join(get_args(Event))}, got {event!r}")
        for key, value in detail.items():
            if not isinstance(value, str | int | None):
                raise ValueError(f"{key}: expected text, a whole number, a flag or None, got {type(value).__name__}")
        short = {key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in detail.items()}
        make_private(self.path.parent)
        with locked(self._lock):
            if self._cut_torn_end():
                self._write("audit.repaired", {"reason": "torn last line"})
            return self._write(event, short)

    def note(self, event: Event, **detail: Detail) -> None:
        """`append`, but a disk that cannot be written is a warning: the agent goes on."""
        try:
            self.append(event, **detail)
        except OSError as error:
            log.warning("event=audit.unwritable path=%s reason=%r lost=%s", self.path, error.strerror, event)

    def has(self, event: Event) -> bool:
        """True if such an entry was ever written, or if the log cannot be read."""
        try:
            return any(f'"event":"{event}"' in line for line in self.path.read_text("utf-8", "replace").splitlines())
        except FileNotFoundError:
            return self.head_path.exists()
        except OSError:
            return True

    def last(self, event: Event) -> dict[str, Detail] | None:
        """Details of the newest entry of this kind; None if there is none that can be read."""
        try:
            entries = [_parse(line) for line in _lines(self.path)]
        except OSError:
            return None
        return next((e.detail for e in reversed(entries) if e is not None and e.event == event), None)

    def head(self) -> Head:
        """The newest entry, by the log itself. Raises OSError."""
        lines = _lines(self.path)
        try:
            entry: dict[str, Any] = json.loads(lines[-1]) if lines else {"n": 0, "hash": _FIRST}
            return Head.parse(f"{int(entry['n'])}:{entry['hash']}")
        except (ValueError, KeyError, TypeError, RecursionError):
            return Head(len(lines), hashlib.sha256(lines[-1]).hexdigest())  # damaged: verify names it

    def _write(self, event: Event, detail: dict[str, Detail]) -> Head:
        last, noted = self.head(), read_head(self.head_path)
        if noted is not None and noted.number > last.number:
            last = noted  # the end was cut off: go on from what it was, so that the hole stays visible
        at = self._now().astimezone(UTC).isoformat(timespec="seconds")
        entry = Entry(last.number + 1, at, event, detail, last.hash)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "ab", buffering=0) as file:
            whole = file.tell()
            if file.write(entry.line()) < len(entry.line()):  # no error to the kernel, but half of a line to `verify`
                file.truncate(whole)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(file.fileno())
        head = Head(entry.number, entry.hash)
        _write_head(self.head_path, f"{head}\n".encode())
        return head

    def _cut_torn_end(self) -> bool:
        """Move an unfinished last line (power cut) out of the way; True if there was one."""
        content = self.path.read_bytes() if self.path.exists() else b""
        if content.endswith(b"\n") or not content:
            return False
        whole = content.rfind(b"\n") + 1
        write_atomically(self.path.with_name("audit.torn"), content[whole:])
        with self.path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
        return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    entries: int
    """Lines of the log."""
    head: Head | None
    """The last entry's, None if the last line is none."""
    problems: tuple[tuple[int, str], ...]
    """(line, what is wrong with it); empty for a log that is whole."""


def verify(folder: Path, known: Head | None = None) -> Verdict:
    """Check every line of the log in `folder`, its head, and the head that was noted elsewhere (`known`).

    Raises OSError if there is no log.
    """
    lines, noted = _read_both(folder)
    problems: list[tuple[int, str]] = []
    last, hashes = Head(0, _FIRST), {0: _FIRST}
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            problems.append((number, "changed: it is no longer an entry, or its hash does not fit"))
            last = Head(last.number + 1, "")
            continue
        if entry.number != last.number + 1:
            problems.append((number, f"removed before it: expected entry {last.number + 1}, got {entry.number}"))
        elif last.hash and entry.prev != last.hash:
            problems.append((number - 1, f"changed: line {number} carries another hash of it"))
        last = Head(entry.number, entry.hash)
        hashes[last.number] = last.hash
    problems += _end(noted, "audit.head", last, hashes, len(lines))
    if known is not None:
        problems += _end(known, "the head noted elsewhere", last, hashes, len(lines))
    return Verdict(len(lines), last if last.hash else None, tuple(sorted(set(problems))))


def _read_both(folder: Path) -> tuple[list[bytes], Head | None]:
    """The log's lines and its head of one moment: an agent that runs may write between looking at one and at the other,
    and half of a line may be there already. Raises OSError if there is no log."""
    noted, patience = read_head(folder / "audit.head"), _PATIENCE
    while True:
        before, content = noted, (folder / "audit.log").read_bytes()
        if (noted := read_head(folder / "audit.head")) != before:
            continue
        if patience and content and not content.endswith(b"\n"):
            patience -= 1
            time.sleep(_PAUSE_S)
            continue
        return _split(content), noted


def _end(noted: Head | None, name: str, last: Head, hashes: dict[int, str], lines: int) -> list[tuple[int, str]]:
    """Compare the end of the log with a head. One entry more than `audit.head` knows is a power cut, no fraud."""
    if noted is None:
        return [(lines, "audit.head is missing or damaged, so an end that was cut off would not be seen")]
    if noted.number > last.number:
        return [(lines + 1, f"removed: {name} knows entry {noted.number}, the log ends with entry {last.number}")]
    if hashes.get(noted.number, noted.hash) != noted.hash:
        return [(lines - (last.number - noted.number), f"changed: {name} carries another hash of it")]
    if name == "audit.head" and noted.number < last.number - 1:
        return [(lines, f"added by another program: audit.head knows entry {noted.number} as the last")]
    return []


def read_head(path: Path) -> Head | None:
    """The head in file `path`; None if there is none or it is damaged."""
    try:
        return Head.parse(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _write_head(path: Path, content: bytes) -> None:
    """Replace the head; on a full disk in its place, where it needs no room: behind the log it would look forged."""
    try:
        write_atomically(path, content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        with path.open("r+b", buffering=0) as file:
            file.write(content)
            file.truncate()
            os.fsync(file.fileno())


def _parse(line: bytes) -> Entry | None:
    """The entry in `line`, None unless it is one, byte by byte."""
    try:
        fields = json.loads(line)
        entry = Entry(fields["n"], fields["at"], fields["event"], fields["detail"], fields["prev"])
        return entry if isinstance(entry.number, int) and entry.line() == line + b"\n" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _lines(path: Path) -> list[bytes]:
    try:
        return _split(path.read_bytes())
    except FileNotFoundError:
        return []


def _split(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
