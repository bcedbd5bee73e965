"""What a start finds in the spool's folder: good records, damage set aside, and the losses that must be declared."""

import errno
import itertools
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.delivery import frames
from agent.delivery.frames import Header, Record, Scan
from agent.delivery.head import Marks
from agent.delivery.memory import gap_range
from agent.delivery.segment import Segment
from agent.errors import ConfigError
from agent.trust.files import sync

log = logging.getLogger("agent.delivery")

_QUARANTINED: Final = 8
"""Most damaged files kept."""
_UNTOLD: Final = "untold"
"""A file that is there from before damage is cleared away until what it cost is declared: a start that is killed
between the two leaves files that look whole, and the next one would use numbers again."""


@dataclass(frozen=True, slots=True)
class Found:
    """One segment and its good records."""

    segment: Segment
    records: tuple[Record, ...]
    torn: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Windows `first`…`last` will never come."""

    first: int
    last: int
    reason: str


def load(folder: Path) -> list[Found]:
    """Read every segment, oldest first; a damaged one goes to quarantine/ and its good records are rewritten.

    A full disk leaves it where it is: its good records are read from it, and a later start with more room repairs it.
    Raises OSError if the folder cannot be read or written, ConfigError for a newer version's file.
    """
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    found = []
    for path in sorted(folder.glob("*.log")):
        if (one := _load_one(path)) is not None:
            found.append(one)
    if found and (folder / _UNTOLD).exists():
        found[-1] = replace(found[-1], torn=True)
    return found


def _load_one(path: Path) -> Found | None:
    data = path.read_bytes()
    header = frames.read_header(data)
    if header is None:
        # The records may be good, but nothing says which epoch they belong to, nor which numbers they had.
        _leave_untold(path.parent)
        path.rename(_aside(path))
        log.error("event=spool.damaged file=%s good_records=0 repaired=no", path.name)
        return None
    if header.version > frames.VERSION:
        raise ConfigError(
            f"{path}: expected version {frames.VERSION}, got {header.version}: a newer fer-agent made it; "
            "install that one again, or move the folder away"
        )
    scan = frames.scan(data, header.size)
    if not scan.damaged:
        return Found(Segment(path, header, scan), scan.records, torn=False)
    try:
        return _repaired(path, data, header, scan)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.error("event=spool.damaged file=%s good_records=%d repaired=no: disk full", path.name, len(scan.records))
        return Found(Segment(path, header, scan), scan.records, scan.torn)


def _repaired(path: Path, data: bytes, header: Header, scan: Scan) -> Found:
    """The good records in a file of their own. It is whole on the disk before the damaged one gives up its name."""
    if scan.torn:
        _leave_untold(path.parent)
    content, moved = bytearray(), []
    for record in scan.records:
        payload = data[record.offset : record.offset + record.length]
        start = frames.HEADER_BYTES + len(content) + frames.OVERHEAD
        moved.append(Record(record.kind, record.seq, start, record.length))
        content += frames.frame(record.kind, record.seq, payload)
    repaired = Segment.create(path.parent, header, bytes(content), lambda: _quarantine(path))
    if repaired.path != path:  # somebody renamed it; all that was good in it has its right name now
        path.unlink()
    log.error("event=spool.damaged file=%s good_records=%d repaired=yes", path.name, len(moved))
    return Found(repaired, tuple(moved), scan.torn)


def _leave_untold(folder: Path) -> None:
    (folder / _UNTOLD).touch(0o600)
    sync(folder)


def told(folder: Path) -> None:
    """All losses are declared, and that is synced."""
    (folder / _UNTOLD).unlink(missing_ok=True)


def _quarantine(path: Path) -> None:
    """Give a damaged file a second name in quarantine/. No move: a power cut before the repaired one has its place
    leaves it where a start looks for it. It may fail: it is for people, and the good records are safe."""
    try:
        os.link(path, _aside(path))
    except OSError as error:
        log.warning("event=spool.not_quarantined file=%s reason=%r", path.name, str(error))


def _aside(path: Path) -> Path:
    """A free name in quarantine/ for a damaged file; people may want to look at it. The oldest ones there go."""
    aside = path.parent / "quarantine"
    aside.mkdir(mode=0o700, exist_ok=True)
    for old in sorted(aside.iterdir(), key=lambda p: p.stat().st_mtime)[: 1 - _QUARANTINED]:
        old.unlink()
    return next(p for n in itertools.count() if not (p := aside / f"{path.stem}-{n:03d}.log").exists())


def losses(marks: Marks, found: list[Found]) -> tuple[int, list[Loss]]:
    """The last number used, and what must be declared lost in the epoch of `marks`.

    Holes before and between known windows are corruption. After a crash the open window's number is skipped and
    declared.
    Where newer records may have been cut off, every number that was reserved is.
    """
    known: list[tuple[int, int]] = []
    torn, newest = not found, max(marks.acked or 0, marks.confirmed)
    for one in found:
        torn |= one.torn
        if one.segment.header.epoch == marks.epoch:
            known.extend(numbers(one.segment, record) for record in one.records)
            newest = max([newest, *(record.seq for record in one.records)])  # a gap's: the newest when it was declared
    done = marks.confirmed if marks.acked is None else marks.acked
    result = [Loss(a, b, "corrupt") for a, b in _holes(known, done)]
    if torn and marks.reserved > newest:
        result.append(Loss(newest + 1, marks.reserved, "corrupt"))
        newest = marks.reserved
    elif not marks.clean:
        newest += 1
        result.append(Loss(newest, newest, "crash"))
    return newest, result


def numbers(segment: Segment, record: Record) -> tuple[int, int]:
    """The numbers (first, last) that a record accounts for."""
    if record.kind == "window":
        return record.seq, record.seq
    gap = segment.read(record.offset, record.length)
    return (0, 0) if gap is None else gap_range(gap)


def _holes(known: Iterable[tuple[int, int]], done: int) -> list[tuple[int, int]]:
    """Numbers above `done` and below the newest known one that nothing accounts for."""
    holes, behind = [], done
    for first, last in sorted(known):
        if first > behind + 1:
            holes.append((behind + 1, first - 1))
        behind = max(behind, last)
    return holes


def join(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    """The range that covers both."""
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])
