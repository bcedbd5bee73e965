"""The spool's head: counter, epoch and marks, in two slots that are written in turn, so that one is always whole."""

import json
import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from agent.errors import ConfigError

_SLOT: Final = 4096
"""Bytes of a slot: a page, so that writing one cannot tear the other."""
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Marks:
    """What must survive."""

    epoch: str
    reserved: int = 0
    """Numbers up to this one may have been used."""
    acked: int | None = None
    """Newest number that a collector acknowledged; written late, the broker's retained ack is newer."""
    confirmed: int = 0
    """Numbers up to this one had a PUBACK; written late."""
    clean: bool = False
    """The last run ended as it should: no window was open."""
    written: int = 0
    """Counts writes: the slot with the larger one is the newer."""


class Head:
    """An open head file; its space is taken once and for all, so a full disk cannot stop it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises OSError; ConfigError for one of a newer version."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = os.pread(self._fd, 2 * _SLOT, 0)
        self.marks: Marks | None = _newer(data, path)
        if len(data) < 2 * _SLOT:
            os.posix_fallocate(self._fd, 0, 2 * _SLOT)

    def write(self, marks: Marks) -> None:
        """Make `marks` last. Raises OSError."""
        before = 0 if self.marks is None else self.marks.written
        marks = replace(marks, written=before + 1)
        body = json.dumps(asdict(marks) | {"version": VERSION}, sort_keys=True).encode()
        slot = b"%08x %s\n" % (zlib.crc32(body), body)
        for number in (0, 1) if self.marks is None else (marks.written % 2,):
            os.pwrite(self._fd, slot.ljust(512, b"\0"), _SLOT * number)
        os.fdatasync(self._fd)
        self.marks = marks

    def close(self) -> None:
        os.close(self._fd)


def read_marks(path: Path) -> Marks | None:
    """The marks of a spool that another process may be writing; None if there are none. Raises as `Head` does."""
    try:
        return _newer(path.read_bytes(), path)
    except FileNotFoundError:
        return None


def _newer(data: bytes, path: Path) -> Marks | None:
    found = [m for m in (_parse(data[:_SLOT], path), _parse(data[_SLOT:], path)) if m is not None]
    return max(found, key=lambda m: m.written, default=None)


def _parse(slot: bytes, path: Path) -> Marks | None:
    crc, _, rest = slot.partition(b" ")
    body = rest.partition(b"\n")[0]
    try:
        if int(crc, 16) != zlib.crc32(body):
            return None
        values: dict[str, Any] = json.loads(body)
        version = values.pop("version")
    except (ValueError, KeyError):
        return None
    if version != VERSION:
        raise ConfigError(
            f"{path}: expected a spool of version {VERSION}, got version {version}: a newer fer-agent made it; "
            "install that one again, or move the folder away"
        )
    return Marks(**values)
