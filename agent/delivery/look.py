"""Look into a spool without touching it: the agent may be running and writing. For `fer-agent spool`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.delivery import frames
from agent.delivery.head import Marks, read_marks
from agent.errors import InputError


@dataclass(frozen=True, slots=True)
class Kept:
    """One record of a spool."""

    kind: str
    """"window" or "gap"."""
    epoch: str
    seq: int
    acked: bool
    """A collector has it; it goes with its file."""
    body: dict[str, Any]
    """The window's payload; for a gap: from, to, reason."""


@dataclass(frozen=True, slots=True)
class Look:
    """What lies in a spool."""

    marks: Marks
    files: int
    size: int
    """Bytes on disk."""
    damaged: int
    """Files with damage; the next start puts them aside."""
    records: tuple[Kept, ...]

    @property
    def waiting(self) -> list[Kept]:
        """Windows that no collector has acknowledged."""
        return [r for r in self.records if r.kind == "window" and not r.acked]


def look(folder: Path) -> Look:
    """Read the spool in `folder`. Raises InputError if there is none, PermissionError, ConfigError for a newer one."""
    marks = read_marks(folder / "head")
    if marks is None:
        raise InputError(f"{folder}: expected a spool, found none; give --state-dir")
    files = damaged = size = 0
    records: list[Kept] = []
    for path in sorted(folder.glob("*.log")):
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # the agent has just deleted it
            continue
        header = frames.read_header(data)
        files, size = files + 1, size + len(data)
        if header is None:
            damaged += 1
            continue
        scan = frames.scan(data, header.size)
        damaged += scan.damaged
        records.extend(_kept(data, header.epoch, scan, marks))
    return Look(marks, files, size, damaged, tuple(records))


def _kept(data: bytes, epoch: str, scan: frames.Scan, marks: Marks) -> Iterator[Kept]:
    for r in scan.records:
        acked = epoch == marks.epoch and r.seq <= (marks.acked or 0)
        yield Kept(r.kind, epoch, r.seq, acked, json.loads(data[r.offset : r.offset + r.length]))
