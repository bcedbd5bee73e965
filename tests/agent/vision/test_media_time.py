"""When a frame of a film is shown, whatever its container says."""

import math
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.capture import open_source
from agent.vision.media_time import MediaTime, head_of, restarts
from tests.cameras import picture


def times(positions: list[float], fps: float = 25, *, may_restart: bool = False) -> list[float]:
    made = MediaTime(fps, restarts=may_restart)
    return [round(made.of(position), 6) for position in positions]


def test_the_first_frame_is_at_zero() -> None:
    """Wherever the container begins to count, and however far apart the frames are."""
    assert times([100, 100.04, 100.2, 700]) == [0, 0.04, 0.2, 600]


def test_a_container_without_times_is_counted() -> None:
    """At the rate that it states, also where they end in the middle."""
    assert times([0, 0, 0, 0], fps=10) == [0, 0.1, 0.2, 0.3]
    assert times([0, 0.04, 0.04, 0.04, math.nan]) == [0, 0.04, 0.08, 0.12, 0.16]


@pytest.mark.parametrize(("name", "codec"), [("v.m2v", "MPG2"), ("v.mjpeg", "MJPG")])
def test_a_raw_stream_is_counted(tmp_path: Path, name: str, codec: str) -> None:
    """It has no times at all, and its last frame is not 244,000 years after the others."""
    path = tmp_path / name
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (160, 120))
    for number in range(10):
        writer.write(picture(number))
    writer.release()
    with open_source(str(path), fps=25) as source:
        assert [frame.at for frame in source] == pytest.approx([number * 0.04 for number in range(10)])


def test_frames_out_of_order_wait() -> None:
    """And do not push those after them into the future."""
    assert times([0, 0.08, 0.04, 0.12, 0.16]) == [0, 0.08, 0.08, 0.12, 0.16]


def test_two_frames_of_one_time_do_not_stretch_the_film() -> None:
    """The next frame is at its own time again."""
    got = times([n // 2 * 0.04 for n in range(100)])
    assert got[-1] == pytest.approx(49 * 0.04, abs=0.05)


def test_a_recording_that_began_anew_goes_on() -> None:
    """With the frames' own distances, not with those that the rate makes one think of."""
    assert times([50, 50.5, 51, 0, 0.5, 1], fps=10) == [0, 0.5, 1, 1.1, 1.6, 2.1]


@pytest.mark.parametrize(("may_restart", "after"), [(True, [0.08, 0.12, 0.2]), (False, [1000, 1000.04, 1000.12])])
def test_a_leap_is_a_joint_where_films_are_joined(may_restart: bool, after: list[float]) -> None:
    """In a transport stream; elsewhere it is a picture that was shown for long."""
    got = times([0, 0.04, 1000, 1000.04, 1000.12], may_restart=may_restart)
    assert got == pytest.approx([0, 0.04, *after])


def test_rare_frames_are_no_leap() -> None:
    """A time lapse of a frame a minute has one a minute in a transport stream, too."""
    assert times([0, 60, 150], fps=1 / 60, may_restart=True) == [0, 60, 150]


@given(st.lists(st.floats(), min_size=1), st.booleans())
def test_time_never_goes_back(positions: list[float], may_restart: bool) -> None:
    """Nor is it ever infinite, or no number, for positions of a day."""
    given = [math.fmod(p, 86400) if math.isfinite(p) else p for p in positions]
    got = times(given, may_restart=may_restart)
    assert all(math.isfinite(at) for at in got)
    assert all(a <= b for a, b in pairwise(got))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 s of MPEG-TS, 25 frames a second."""
    path = tmp_path_factory.mktemp("film") / "v.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MPG2"), 25, (160, 120))
    assert writer.isOpened()
    pictures = [picture(number) for number in range(5)]
    for number in range(2000):
        writer.write(pictures[number % 5])
    writer.release()
    return path


def test_what_it_begins_with_tells_a_transport_stream(recording: Path) -> None:
    """From any byte on, also with a camcorder's time code before
    each packet or parity behind it; a program stream; and nothing else."""
    whole = recording.read_bytes()
    assert restarts(head_of(str(recording)))
    assert restarts(whole[100:2148])
    assert restarts(b"".join(b"\0\0\0\0" + whole[n : n + 188] for n in range(0, 1880, 188)))
    assert restarts(b"".join(whole[n : n + 188] + bytes(16) for n in range(0, 1880, 188)))
    assert restarts(b"\0\0\1\xba" + bytes(100))
    assert not any(restarts(head) for head in (b"", b"\0" * 2048, b"RIFF....AVI LIST", whole[:188]))


@pytest.mark.parametrize("joint", ["over", "leap"])
def test_joined_recordings_take_as_long_as_they_are(recording: Path, tmp_path: Path, joint: str) -> None:
    """Whether the second one's counter is far behind (FFmpeg takes it to have run over, 26 h) or far ahead."""
    path, whole = tmp_path / "v.ts", recording.read_bytes()
    packets = len(whole) // 188
    head, tail = whole[: packets // 10 * 188], whole[packets * 9 // 10 * 188 :]
    path.write_bytes(tail + head if joint == "over" else head + tail)
    with open_source(str(path), fps=5) as source:
        got = [frame.at for frame in source]
    assert 12 < got[-1] < 20
    assert len(got) > 60
