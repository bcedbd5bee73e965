"""What the boxes of an MP4 file say."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.vision import mp4

ONE = 1 << 16
SHOWN = (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
MIRROR = (-ONE, 0, 0, 0, ONE, 0, 160 * ONE, 0, 1 << 30)


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def track(handler: bytes, matrix: tuple[int, ...], version: int = 0) -> bytes:
    header = bytes([version]) + bytes(51 if version else 39) + struct.pack(">9i", *matrix) + bytes(8)
    return box(b"trak", box(b"tkhd", header) + box(b"mdia", box(b"mdhd") + box(b"hdlr", bytes(8) + handler)))


def written(path: Path, *boxes: bytes) -> str:
    path.write_bytes(box(b"ftyp", b"isom") + b"".join(boxes))
    return str(path)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(("matrix", "expected"), [(SHOWN, False), (MIRROR, True)])
def test_a_mirror_is_seen(tmp_path: Path, version: int, matrix: tuple[int, ...], expected: bool) -> None:
    """Of the first picture's track, which is the one that is shown, not of the sound's or of a second camera's."""
    other = MIRROR if matrix is SHOWN else SHOWN
    tracks = track(b"soun", other) + track(b"vide", matrix, version) + track(b"vide", other)
    path = written(tmp_path / "v", box(b"mdat", b"x" * 9), box(b"moov", tracks))
    assert mp4.mirrored(path) is expected
    assert not mp4.cut_off(path)


def test_large_boxes_are_passed(tmp_path: Path) -> None:
    """One of more than four gigabytes has its size behind its name, the last one may have none."""
    large = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"12345"
    last = struct.pack(">I4s", 0, b"moov") + track(b"vide", MIRROR)
    assert mp4.mirrored(written(tmp_path / "v", large, last))


def test_what_has_no_index_is_cut_off(tmp_path: Path) -> None:
    """A film that ends within its pictures is half a copy; a phone's still picture, and what is no MP4, are not."""
    assert mp4.cut_off(written(tmp_path / "half", box(b"mdat", b"x" * 99)[:50]))
    assert not mp4.cut_off(written(tmp_path / "heic", box(b"meta"), box(b"mdat")))
    (tmp_path / "avi").write_bytes(b"RIFF....AVI ")
    assert not mp4.cut_off(str(tmp_path / "avi"))
    assert not mp4.mirrored(str(tmp_path / "avi"))


TRACKS = st.recursive(
    st.binary(max_size=90),
    lambda inner: st.lists(
        st.builds(box, st.sampled_from([b"tkhd", b"mdia", b"hdlr"]), inner), min_size=1, max_size=3
    ).map(b"".join),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TRACKS, max_size=3), st.binary())
@example([struct.pack(">I4sQ", 1, b"mdia", 0)], struct.pack(">I4sQ", 1, b"trak", 0))
def test_any_bytes_are_read_to_their_end(tmp_path: Path, tracks: list[bytes], more: bytes) -> None:
    """Damaged files raise nothing, and are not read for ever."""
    index = b"".join(box(b"trak", each) for each in tracks) + more
    path = written(tmp_path / "v", struct.pack(">I4s", 1, b"free") + more, box(b"moov", index), more)
    assert mp4.mirrored(path) in (True, False)
    assert mp4.cut_off(path) in (True, False)
