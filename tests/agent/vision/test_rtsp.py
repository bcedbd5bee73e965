"""A network camera over RTSP: GStreamer's server, real H.264, H.265 and MJPEG, TLS, logins, stalls and returns."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.config import Camera
from agent.errors import UnavailableError
from agent.vision.camera import Notice
from agent.vision.capture import open_source
from agent.vision.stream import StreamGrabber
from tests.cameras import until
from tests.certificates import DAY, NOW, Authority
from tests.rtsp_camera import RtspCamera, rtsp_camera, taken_s

SETTINGS = Camera(open_timeout_s=20, read_timeout_s=2, retry_max_s=1)
PASSWORD = "p@s/s:w#r?d%&é;|$"


@pytest.fixture(scope="module")
def locked() -> Iterator[RtspCamera]:
    with rtsp_camera("--codec", "mjpeg", "--digest", "--login", f"admin:{PASSWORD}") as server:
        yield server


def said(source: str) -> str:
    """What an attempt to open `source` says."""
    with pytest.raises(UnavailableError) as caught:
        StreamGrabber(source, SETTINGS)
    return str(caught.value)


@pytest.mark.parametrize("options", [["--codec", "mjpeg"], ["--codec", "h265"], ["--codec", "h264", "--udp"]])
def test_pictures_come(options: list[str]) -> None:
    """MJPEG and H.265 over TCP, and H.264 from a camera that refuses TCP."""
    with (
        rtsp_camera(*options) as server,
        open_source(server.url(), fps=5, camera=SETTINGS, patient=True) as source,
    ):
        assert until(iter(source), lambda f: f.trouble is None, 40)[-1].image.shape == (240, 320, 3)


def test_the_first_picture_is_a_new_one() -> None:
    """FFmpeg looks at a stream for seconds before it opens it; what it kept meanwhile is not shown as of now."""
    with rtsp_camera() as server, open_source(server.url(), fps=5, camera=SETTINGS, patient=True) as source:
        began = time.monotonic()
        frame = until(iter(source), lambda f: f.trouble is None, 40)[-1]
        assert frame.at - taken_s(frame.image, frame.at) < (frame.at - began) / 2


def test_a_login_with_special_characters(locked: RtspCamera) -> None:
    """A password in which every character that an address needs is escaped opens the stream."""
    grabber = StreamGrabber(locked.url(f"admin:{quote(PASSWORD, safe='')}@"), SETTINGS)
    assert grabber.grab()
    assert grabber.retrieve() is not None
    grabber.close()


@pytest.mark.parametrize(
    ("login", "path", "words"),
    [
        ("admin:hunter2@", "live", "does not take this login (401); check user and password (write @ in it as %40"),
        ("", "live", "asks for a login (401); check user and password: rtsp://USER:PASSWORD@HOST/PATH"),
        ("admin:hunter2/x@", "live", "check the address in camera.source; write @ in it as %40, / as %2F"),
    ],
)
def test_a_login_that_is_not_taken_is_told_apart(locked: RtspCamera, login: str, path: str, words: str) -> None:
    """A wrong login, none, and one that FFmpeg reads otherwise have words of their own, and are not in them."""
    text = said(locked.url(login, path))
    assert words in text
    assert "hunter2" not in text


def test_pictures_come_over_tls(tmp_path: Path) -> None:
    """RTSPS with a certificate of the camera's own; a wrong login, and a side without TLS, have their own words."""
    signed = Authority(tmp_path).sign("camera", NOW - DAY, NOW + DAY)
    pem = tmp_path / "camera.pem"
    pem.write_bytes(signed.read_bytes() + signed.with_suffix(".key").read_bytes())
    with rtsp_camera("--codec", "mjpeg", "--login", "admin:right", "--tls", str(pem)) as server:
        plain = server.url("admin:right@")
        tls = plain.replace("rtsp:", "rtsps:")
        with open_source(tls, fps=5, camera=SETTINGS, patient=True) as source:
            until(iter(source), lambda f: f.trouble is None, 40)
        assert "does not take this login (401)" in said(tls.replace("right", "wrong"))
        assert "or write rtsps:// if it speaks TLS" in said(plain)
    with rtsp_camera("--codec", "mjpeg") as server:
        assert "speaks no TLS; write rtsp://" in said(server.url().replace("rtsp:", "rtsps:"))


def test_a_path_that_is_not_there_is_named() -> None:
    """The camera knows no such stream: the path is what to check, and not the login."""
    with rtsp_camera() as server:
        text = said(server.url("admin:hunter2@", "wrong"))
    assert text.endswith(f"127.0.0.1:{server.port} has no such stream (404); check the path in camera.source")


def test_a_frozen_camera_gives_no_old_pictures() -> None:
    """A server that stops is noticed after one time-out: what FFmpeg's decoder still held is not taken for new."""
    notices: list[Notice] = []
    with (
        rtsp_camera() as server,
        open_source(server.url(), fps=10, camera=SETTINGS, patient=True, notice=notices.append) as source,
    ):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None, 40)
        server.process.send_signal(signal.SIGSTOP)
        until(frames, lambda f: f.trouble == "camera.stalled", 40)
        held = time.monotonic() + 2.5 * SETTINGS.read_timeout_s
        assert not any(f.image.size for f in until(frames, lambda _: time.monotonic() > held, 40))
        server.process.send_signal(signal.SIGCONT)
        until(frames, lambda f: f.trouble is None, 40)
    assert (notices[0].reason, notices[-1].reason) == ("camera.lost", "camera.back")


def test_a_camera_that_restarts_comes_back() -> None:
    """A killed server is told with its reason; back with another size it is seen again, and calibration asked for."""
    notices: list[Notice] = []
    with rtsp_camera("--codec", "mjpeg") as first:
        options = {"fps": 5, "camera": SETTINGS, "patient": True, "notice": notices.append}
        with open_source(first.url(), **options) as source:  # type: ignore[arg-type]
            frames = iter(source)
            until(frames, lambda f: f.trouble is None, 40)
            first.process.kill()
            until(frames, lambda f: f.trouble == "camera.absent", 40)
            with rtsp_camera("--codec", "mjpeg", "--port", str(first.port), "--size", "640x360"):
                until(frames, lambda f: f.trouble is None and f.image.shape == (360, 640, 3), 40)
    told = {n.reason: n.detail for n in notices}
    assert re.search(r"refuses connections|answers but sends", told["camera.lost"])
    assert "320x240 became 640x360" in told["camera.resized"]


def test_keyframes_too_far_apart_are_named() -> None:
    """Joined between two keyframes that are further apart than the time-out, nothing can be decoded: that is said."""
    with rtsp_camera("--keyframe", "1000") as server:
        first = StreamGrabber(server.url(), SETTINGS)  # the server makes one stream for all, which begins here
        quick = SETTINGS.model_copy(update={"read_timeout_s": 1})
        with pytest.raises(UnavailableError, match=r"got none; set the camera's keyframe"):
            StreamGrabber(server.url(), quick).grab()
        first.close()
