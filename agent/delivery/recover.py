"""What a start finds in the spool's folder: good records, damage set aside, and the losses that must be declared."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.delivery import frames
from agent.delivery.frames import Record
from agent.delivery.head import Marks
from agent.delivery.segment import Segment
from agent.errors import ConfigError

log = logging.getLogger("agent.delivery")

_QUARANTINED: Final = 8
"""Most damaged files kept."""


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


def load(folder: Path, size: int) -> list[Found]:
    """Read every segment, oldest first; a damaged one is moved to quarantine/ and its good records are rewritten.

    Raises OSError if the folder cannot be read or written, ConfigError for a newer version's file.
    """
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    found = []
    for path in sorted(folder.glob("*.log")):
        if (one := _load_one(path, size)) is not None:
            found.append(one)
    return found


def _load_one(path: Path, size: int) -> Found | None:
    data = path.read_bytes()
    header = frames.read_header(data)
    if header is not None and header.version > frames.VERSION:
        raise ConfigError(
            f"{path}: expected version {frames.VERSION}, got {header.version}: a newer fer-agent made it; "
            "install that one again, or move the folder away"
        )
    scan = frames.scan(data, _made_size(data, size))
    if header is not None and not scan.damaged:
        return Found(Segment(path, header, scan), scan.records, torn=False)
    _quarantine(path)
    log.error("event=spool.damaged file=%s good_records=%d quarantined=yes", path.name, len(scan.records))
    if header is None:
        # The records may be good, but nothing says which epoch they belong to.
        return None
    content, moved = bytearray(), []
    for record in scan.records:
        payload = data[record.offset : record.offset + record.length]
        start = frames.HEADER_BYTES + len(content) + frames.overhead()
        moved.append(Record(record.kind, record.seq, start, record.length))
        content += frames.frame(record.kind, record.seq, payload)
    repaired = Segment.create(path.parent, header, bytes(content))
    return Found(repaired, tuple(moved), scan.torn)


def _made_size(data: bytes, size: int) -> int:
    """The size that the file was made with, from its header; `size` if that is gone."""
    header = frames.read_header(data)
    return size if header is None else header.size


def _quarantine(path: Path) -> None:
    """Move a damaged file aside; people may want to look at it. The oldest ones go."""
    aside = path.parent / "quarantine"
    aside.mkdir(mode=0o700, exist_ok=True)
    number = len(list(aside.iterdir()))
    path.rename(aside / f"{path.stem}-{number:03d}.log")
    for old in sorted(aside.iterdir(), key=lambda p: p.stat().st_mtime)[:-_QUARANTINED]:
        old.unlink()


def losses(marks: Marks, found: list[Found]) -> tuple[int, list[Loss]]:
    """The last number used, and what must be declared lost in the epoch of `marks`.

    Holes before and between known windows are corruption. After a crash the open window's number is skipped and
    declared.
    Where newer records may have been cut off, every number that was reserved is.
    """
    known: list[tuple[int, int]] = []
    torn = not found
    for one in found:
        torn |= one.torn
        if one.segment.header.epoch == marks.epoch:
            known.extend(numbers(one.segment, record) for record in one.records)
    done = marks.confirmed if marks.acked is None else marks.acked
    newest = max([marks.acked or 0, *(last for _, last in known)])
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
    what = json.loads(segment.read(record.offset, record.length) or b'{"from":0,"to":0}')
    return what["from"], what["to"]


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
