"""What an MP4 or MOV file says of itself and OpenCV does not pass on (boxes: ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

_FIRST: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Boxes with which such a file begins."""
_INDICES: Final = (b"moov", b"meta")
"""Of a film, and of a phone's still picture (HEIC)."""
_MOST: Final = 10_000
"""Boxes looked at in one level: a damaged file may have millions of empty ones."""
_MATRIX: Final = {0: 40, 1: 52}
"""Where the matrix begins in `tkhd`, by its version."""


def mirrored(path: str) -> bool:
    """Return whether the first video track is to be shown as in a mirror, besides being turned: front cameras do that.

    False for every other kind of file. Raises OSError.
    """
    with open(path, "rb") as file:
        if not _is_mp4(file):
            return False
        tracks = (
            _mirrored(file, trak)
            for moov in _inside(file, Path(path).stat().st_size, b"moov")
            for trak in _inside(file, moov, b"trak")
        )
        return next((found for found in tracks if found is not None), False)


def cut_off(path: str) -> bool:
    """Return whether it begins as such a file and has no index: half a copy, or never ended. Raises OSError."""
    with open(path, "rb") as file:
        return _is_mp4(file) and not any(kind in _INDICES for kind, _ in _boxes(file, Path(path).stat().st_size))


def _is_mp4(file: BinaryIO) -> bool:
    head = file.read(8)
    file.seek(0)
    return head[4:] in _FIRST


def _mirrored(file: BinaryIO, end: int) -> bool | None:
    """Read a track's boxes up to `end`; return None if it is no video."""
    mirror = video = False
    for kind, box_end in _boxes(file, end):
        if kind == b"tkhd":
            mirror = _reflects(file.read(88))
        elif kind == b"mdia":
            video = any(file.read(12)[8:] == b"vide" for _ in _inside(file, box_end, b"hdlr"))
    return mirror if video else None


def _reflects(header: bytes) -> bool:
    """Return whether a `tkhd`'s matrix (a b u, c d v, …) turns left into right: its determinant is negative."""
    at = _MATRIX.get(header[0]) if header else None
    if at is None or len(header) < at + 20:
        return False
    a, b, _, c, d = struct.unpack_from(">5i", header, at)
    return bool(a * d < b * c)


def _inside(file: BinaryIO, end: int, wanted: bytes) -> Iterator[int]:
    """Yield the end of each box of this kind up to `end`; the file is then at its content."""
    return (box_end for kind, box_end in _boxes(file, end) if kind == wanted)


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield kind and end of each box from where the file is up to `end`; the file is then at its content."""
    return islice(_all_boxes(file, end), _MOST)


def _all_boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    start = file.tell()
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if size == 1:
            size = int.from_bytes(file.read(8))
        elif size == 0:  # the last one, up to the end
            size = end - start
        if size < file.tell() - start:
            return
        yield kind, min(start + size, end)
        start += size
