"""Records in a spool file: framed, checksummed, found again behind damage. Pure functions over bytes.

Why a log of our own and not SQLite: a database that lost its tail or a page is refused whole, and a commit writes
two to four pages; `python -m tests.benchmarks.spool` measures both.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

HEADER_BYTES: Final = 64
"""Of a file, before its first record."""
_FILE: Final = struct.Struct("<8sH12sQI")
"""magic, version, epoch, number, size"""
_FILE_MAGIC: Final = b"FERSPOOL"
VERSION: Final = 1

_MAGIC: Final = b"\xf3WN\x01"
_RECORD: Final = struct.Struct("<4sBBHQI")
"""magic, kind, 0, payload length, seq, CRC-32 of kind…seq and payload"""
OVERHEAD: Final = _RECORD.size
"""Bytes that a record takes besides its payload."""
_COVERED: Final = struct.Struct("<BBHQ")
_KINDS: Final = ("window", "gap")


@dataclass(frozen=True, slots=True)
class Header:
    """Which file this is."""

    version: int
    epoch: str
    number: int
    """Rising; files are read in this order."""
    size: int
    """Bytes that the file was made with: a shorter one lost its tail."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where a good record lies."""

    kind: Literal["window", "gap"]
    seq: int
    offset: int
    """Of its payload in the file, bytes."""
    length: int
    """Of its payload, bytes."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds."""

    records: tuple[Record, ...]
    end: int
    """First byte behind the last good record."""
    damaged: bool
    """Something is wrong anywhere: cut short, or bytes that are no record."""
    torn: bool
    """Something is wrong behind the last good record: newer records may have been there."""


def file_header(header: Header) -> bytes:
    """The first 64 bytes of a file."""
    body = _FILE.pack(_FILE_MAGIC, header.version, header.epoch.encode(), header.number, header.size)
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(HEADER_BYTES, b"\0")


def read_header(data: bytes) -> Header | None:
    """The header of a file; None if it is not one or is damaged."""
    body, rest = data[: _FILE.size], data[_FILE.size : _FILE.size + 4]
    if len(rest) < 4 or struct.unpack("<I", rest)[0] != zlib.crc32(body):
        return None
    magic, version, epoch, number, size = _FILE.unpack(body)
    return Header(version, epoch.decode("ascii", "replace"), number, size) if magic == _FILE_MAGIC else None


def frame(kind: str, seq: int, payload: bytes) -> bytes:
    """One record as it is written."""
    covered = _COVERED.pack(_KINDS.index(kind), 0, len(payload), seq)
    return _MAGIC + covered + struct.pack("<I", zlib.crc32(payload, zlib.crc32(covered))) + payload


def scan(data: bytes, size: int) -> Scan:
    """Find every good record of a file that should be `size` bytes long (zeros behind its last record)."""
    records: list[Record] = []
    offset = end = HEADER_BYTES
    damaged = False
    while (offset := data.find(_MAGIC, offset)) >= 0:
        record = _record_at(data, offset)
        if record is None:
            damaged, offset = True, offset + 1
            continue
        damaged |= offset != end
        records.append(record)
        offset = end = record.offset + record.length
    torn = len(data) < size or any(data[end:])
    return Scan(tuple(records), end, damaged or torn, torn)


def _record_at(data: bytes, offset: int) -> Record | None:
    """The record that begins at `offset`, or None if it is not whole and right."""
    head = data[offset : offset + _RECORD.size]
    if len(head) < _RECORD.size:
        return None
    _, kind, _, length, seq, crc = _RECORD.unpack(head)
    payload = data[offset + _RECORD.size : offset + _RECORD.size + length]
    if kind >= len(_KINDS) or len(payload) < length:
        return None
    if zlib.crc32(payload, zlib.crc32(head[4 : 4 + _COVERED.size])) != crc:
        return None
    return Record("window" if kind == 0 else "gap", seq, offset + _RECORD.size, length)
