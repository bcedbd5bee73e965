"""Video files: frames by media time, the end, and what is refused."""

import os
import struct
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from agent.vision.camera import LiveCamera
from agent.vision.capture import open_source
from agent.vision.picture import PictureJudge, exposure
from agent.vision.video import VideoFile
from tests.cameras import film, picture


def write_video(path: Path, frames: int = 50, fps: float = 25, codec: str = "MJPG") -> Path:
    return Path(film(path, frames, codec, fps))


def times(path: Path, fps: float, *, realtime: bool = False) -> list[float]:
    with open_source(str(path), fps=fps, realtime=realtime) as source:
        return [frame.at for frame in source]


def test_frames_by_media_time(tmp_path: Path) -> None:
    """Two seconds at 25 a second, asked for 5, give a frame every 0.2 s of media time, however fast it is read."""
    got = times(write_video(tmp_path / "v.avi"), 5)
    assert got == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8], abs=0.001)


def test_delays_of_a_gif_count(tmp_path: Path) -> None:
    """A gif whose pictures last 1 s, 0.2 s and 0.5 s has them at 0, 1 and 1.2 s."""
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the gif")
    pictures = [image.fromarray(picture(n, seed=n)) for n in range(4)]
    path = tmp_path / "v.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[1000, 200, 500, 100])
    assert times(path, 60) == pytest.approx([0, 1.0, 1.2, 1.7], abs=0.02)


def test_real_clips_end(classroom_dir: Path) -> None:
    """The two real gifs play once, three and five seconds long, not for ever."""
    ends = {p.name: times(p, 60)[-1] for p in sorted(classroom_dir.glob("*.gif"))}
    assert ends["classroom.gif"] == pytest.approx(2.93, abs=0.05)
    assert ends["head-pose-face-detection-female-and-male.gif"] == pytest.approx(4.58, abs=0.05)


def test_realtime_takes_as_long_as_the_video(tmp_path: Path) -> None:
    """In real time a second of video takes a second."""
    path = write_video(tmp_path / "v.avi", frames=26)
    began = time.monotonic()
    assert len(times(path, 5, realtime=True)) == 6
    assert time.monotonic() - began >= 0.95


def test_a_stop_ends_the_wait_for_a_frame(tmp_path: Path) -> None:
    """A file that is played at one frame in 50 s ends at once when it is asked to; until then it is seen to wait, a
    second ago at most, and is not taken for hanging."""
    path = write_video(tmp_path / "slow.avi", frames=60, fps=1)
    with open_source(str(path), fps=0.02, realtime=True) as source:
        frames = iter(source)
        next(frames)
        threading.Timer(2.5, source.stop).start()
        assert next(frames, None) is None
        assert time.monotonic() - source.waited_at() < 10


def test_realtime_drops_what_comes_late(tmp_path: Path) -> None:
    """A loop too slow for real time skips frames instead of falling behind."""
    path = write_video(tmp_path / "v.avi", frames=50)
    began = time.monotonic()
    seen = 0
    with open_source(str(path), fps=25, realtime=True) as source:
        for _ in source:
            seen += 1
            time.sleep(0.2)
    assert time.monotonic() - began < 8  # all fifty would take ten seconds
    assert seen < 20
    assert source.late == 50 - seen


ONE = 1 << 16


def shown_by(path: Path, *matrix: int) -> np.ndarray:
    """Return the first frame of a film that is to be shown by the matrix a b u c d v x y w."""
    content = bytearray(write_video(path, frames=3, codec="mp4v").read_bytes())
    at = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2, version 0
    content[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    with open_source(str(path), fps=25) as source:
        return next(iter(source)).image


def test_a_film_of_a_phone_is_upright(tmp_path: Path) -> None:
    """A film that its container says is to be turned by 90 degrees comes turned: no face is found on its side."""
    turned = shown_by(tmp_path / "v.mp4", 0, ONE, 0, -ONE, 0, 0, 120 * ONE, 0, 1 << 30)
    assert turned.shape == (160, 120, 3)
    assert np.abs(turned.astype(int) - np.rot90(picture(0), -1)).mean() < 12


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-ONE, 0, 0, 0, ONE, 0, 160 * ONE, 0, 1 << 30), picture(0)[:, ::-1]),
        ((ONE, 0, 0, 0, -ONE, 0, 0, 120 * ONE, 1 << 30), picture(0)[::-1]),
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), np.transpose(picture(0), (1, 0, 2))),
        ((0, -ONE, 0, -ONE, 0, 0, 120 * ONE, 160 * ONE, 1 << 30), np.rot90(picture(0), 2).transpose(1, 0, 2)),
    ],
    ids=["left and right", "up and down", "and turned left", "and turned right"],
)
def test_a_film_of_a_front_camera_is_upright(tmp_path: Path, matrix: tuple[int, ...], expected: np.ndarray) -> None:
    """One that is to be mirrored is no film that stands on its head."""
    got = shown_by(tmp_path / "v.mp4", *matrix)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 12


def with_pixels_of(content: bytes, width: int, height: int) -> bytes:
    """Return an MP4 whose index is its last box, with a `pasp` box (ISO/IEC 14496-12, 12.1.4) in its only track."""
    changed, pasp = bytearray(content), struct.pack(">I4sII", 16, b"pasp", width, height)
    for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        at = content.rindex(outer) - 4
        changed[at : at + 4] = struct.pack(">I", int.from_bytes(changed[at : at + 4]) + len(pasp))
    entry = content.rindex(b"stsd") + 12
    size = int.from_bytes(content[entry : entry + 4])
    changed[entry : entry + 4] = struct.pack(">I", size + len(pasp))
    return bytes(changed[: entry + size]) + pasp + bytes(changed[entry + size :])


@pytest.mark.parametrize(
    ("pixel", "turned", "shape"),
    [
        ((4, 3), False, (120, 213, 3)),
        ((3, 4), False, (160, 160, 3)),
        ((4, 3), True, (213, 120, 3)),
        ((1, 100), False, (120, 160, 3)),
        ((1, 0), False, (120, 160, 3)),
        ((100, 99), False, (120, 160, 3)),
    ],
    ids=["wide", "high", "wide and turned", "absurd", "no number", "as good as square"],
)
def test_faces_are_not_squeezed(tmp_path: Path, pixel: tuple[int, int], turned: bool, shape: tuple[int, ...]) -> None:
    """Pixels that are no squares, as a camcorder's, become squares; none is lost."""
    path = write_video(tmp_path / "v.mp4", frames=3, codec="mp4v")
    content = bytearray(path.read_bytes())
    if turned:
        at = content.index(b"tkhd") + 44
        content[at : at + 36] = struct.pack(">9i", 0, ONE, 0, -ONE, 0, 0, 120 * ONE, 0, 1 << 30)
    path.write_bytes(with_pixels_of(bytes(content), *pixel))
    with open_source(str(path), fps=25) as source:
        assert next(iter(source)).image.shape == shape


def test_a_film_that_cannot_be_read_in_time_goes_on(tmp_path: Path) -> None:
    """Each frame costs 50 ms where 40 are between them, as 4K does on a Pi: late as it is, something is shown."""
    path, now = write_video(tmp_path / "v.avi", frames=250), iter(np.arange(0, 1000, 0.05))
    with VideoFile(str(path), fps=25, realtime=True, clock=lambda: float(next(now))) as source:
        got = [frame.at for frame in source]
    assert len(got) >= 10
    assert got[-1] > 9


def test_a_stop_ends_a_film_at_full_speed(tmp_path: Path) -> None:
    """Also where nothing waits for a frame's time."""
    with open_source(str(write_video(tmp_path / "v.avi")), fps=25) as source:
        seen = 0
        for _ in source:
            seen += 1
            source.stop()
    assert seen == 1


@pytest.mark.parametrize("name", ["10:30.avi", "a b?.avi", "-v.avi", "klasse-ä.avi"])
def test_any_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before a colon is no protocol."""
    monkeypatch.chdir(write_video(tmp_path / "v.avi", frames=3).rename(tmp_path / name).parent)
    assert len(times(Path(name), 25)) == 3


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """OpenCV ends the process over one."""
    path = write_video(tmp_path / "v.avi", frames=3).rename(tmp_path / os.fsdecode(b"caf\xe9.avi"))
    with pytest.raises(InputError, match="expected a file name in UTF-8"), open_source(str(path), fps=1):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "cannot be opened"), (b"not a video" * 100, "cannot be opened")],
)
def test_what_is_no_video(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A file that is absent, empty or no video is refused with exit code 66 and a line that names it."""
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught, open_source(str(path), fps=1):
        pass
    assert str(path) in str(caught.value)


def test_video_without_a_frame(tmp_path: Path) -> None:
    """A container with a video track and no frame that can be decoded is refused, with its codec and what to do."""
    whole = write_video(tmp_path / "v.avi", frames=3).read_bytes()
    path = tmp_path / "headless.avi"
    at = whole.index(b"movi") + 4
    path.write_bytes(whole[:at])
    with pytest.raises(InputError, match=r"codec MJPG.*convert it"), open_source(str(path), fps=1):
        pass


def test_folder_is_no_video(tmp_path: Path) -> None:
    """A folder is refused as one."""
    with pytest.raises(InputError, match="folder"), open_source(str(tmp_path), fps=1):
        pass


@pytest.mark.parametrize("codec", ["MJPG", "mp4v"])  # mp4v: frames that need others; OpenCV's wheel writes no H.264
def test_broken_bytes_inside(tmp_path: Path, codec: str) -> None:
    """Frames whose bytes were overwritten are skipped; the film goes on to its end."""
    path = write_video(tmp_path / "v.avi", codec=codec)
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 2, 50):
        content[at] ^= 0xFF
    path.write_bytes(content)
    got = times(path, 25)
    assert len(got) >= 10
    assert got == sorted(got)


def test_truncated_video(tmp_path: Path) -> None:
    """A film cut off in the middle gives the frames before the cut."""
    path = write_video(tmp_path / "v.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 <= len(times(path, 25)) <= 40


@pytest.mark.parametrize(
    ("source", "live"),
    [
        ("0", True),
        ("/dev/video2", True),
        ("picamera2", True),
        ("rtsp://cam/1", True),
        ("http://cam/video", True),
        ("https://host/live.mp4?x=1", True),
        ("http://cam/stream.ts", True),
        ("film.mp4", False),
        ("./0.gif", False),
    ],
)
def test_what_is_opened_as_a_camera(source: str, live: bool) -> None:
    """Cameras and every address, whatever its path ends in, are cameras, which a pause closes; files are not."""
    assert isinstance(open_source(source, fps=1), LiveCamera) is live


def judged(image: np.ndarray) -> str | None:
    return exposure(np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8)))


def test_real_pictures_are_usable(classroom_dir: Path) -> None:
    """No frame of the real clips is called black, overexposed or covered, at full light or at a quarter of it."""
    for path in classroom_dir.glob("*.gif"):
        with open_source(str(path), fps=4) as source:
            for frame in source:
                assert judged(frame.image) is None
                assert judged(frame.image * 0.25) is None


def test_unusable_pictures_are_named() -> None:
    """Dark noise is black, burnt-out is overexposed, tape and a hand over the lens are covered."""
    noise = np.random.default_rng(1).normal(0, 5, (480, 640, 3))
    ramp = np.linspace(0, 60, 640)[None, :, None] * np.ones((480, 1, 3))
    assert judged(8 + noise) == "camera.black"
    assert judged(260 + noise) == "camera.overexposed"
    assert judged(90 + noise) == "camera.covered"
    assert judged(60 + ramp + noise) == "camera.covered"


def test_covered_real_picture(classroom_dir: Path) -> None:
    """A real picture behind a blur of a twelfth of its width is covered."""
    with open_source(str(classroom_dir / "classroom.gif"), fps=1) as source:
        frame = next(iter(source))
    assert judged(cv2.GaussianBlur(frame.image, (0, 0), frame.image.shape[1] / 12)) == "camera.covered"


def test_frozen_after_the_configured_time() -> None:
    """The same picture is frozen after 10 s, not before; one grey level of noise is not frozen."""
    judge = PictureJudge(frozen_after_s=10)
    still = picture()
    assert [judge.add(still, t) for t in (0.0, 9.9, 10.0)] == [None, None, "camera.frozen"]
    moved = still.copy()
    moved[::4, ::4] ^= 1
    assert judge.add(moved, 11.0) is None


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """A named pipe, at which FFmpeg would wait without an end, is refused at once."""
    os.mkfifo(tmp_path / "v.mp4")
    with pytest.raises(InputError, match="a pipe or device"):
        times(tmp_path / "v.mp4", 5)


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv.ts\n", "ffconcat version 1.0\nfile v.ts\n"]
)
def test_a_playlist_is_refused(tmp_path: Path, text: str) -> None:
    """A list names a pipe as well as a film: what is live would be watched without a policy."""
    os.mkfifo(tmp_path / "v.ts")
    (tmp_path / "v.m3u8").write_text(text)
    with pytest.raises(InputError, match="got the playlist"):
        times(tmp_path / "v.m3u8", 5)


def test_half_a_copy_is_told_from_what_is_no_video(tmp_path: Path) -> None:
    """The index of an MP4 is at its end: without it nothing can be shown, and the file is to be copied again."""
    path = write_video(tmp_path / "v.mp4", codec="mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"index \(moov\) is missing"):
        times(path, 5)
