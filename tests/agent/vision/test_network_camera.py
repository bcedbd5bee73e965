"""A network camera: a real MJPEG stream through OpenCV, hung up, stalled and broken."""

import os
import subprocess
import sys
import time

import pytest

from agent.config import Camera
from agent.vision.capture import open_source
from tests.cameras import mjpeg_server, until


def test_network_camera_over_http() -> None:
    """A real MJPEG stream through OpenCV gives pictures; hung up it is reported, and comes back."""
    with mjpeg_server() as server:
        settings = Camera(open_timeout_s=3, read_timeout_s=1, retry_max_s=1)
        with open_source(server.url, fps=10, camera=settings, patient=True) as source:
            frames = iter(source)
            assert until(frames, lambda f: f.trouble is None)[-1].image.shape == (120, 160, 3)
            server.mode = "close"
            until(frames, lambda f: f.trouble in ("camera.absent", "camera.stalled"))
            server.mode = "live"
            until(frames, lambda f: f.trouble is None, 20)
    assert server.connections >= 2


def test_network_camera_that_stalls() -> None:
    """A real stream that stays connected and sends nothing is noticed within its time-out, not OpenCV's 30 s."""
    with mjpeg_server() as server:
        settings = Camera(open_timeout_s=3, read_timeout_s=1, retry_max_s=1)
        with open_source(server.url, fps=10, camera=settings, patient=True) as source:
            frames = iter(source)
            until(frames, lambda f: f.trouble is None)
            server.mode = "stall"
            began = time.monotonic()
            until(frames, lambda f: f.trouble is not None)
            assert time.monotonic() - began < 20
            server.mode = "live"
            until(frames, lambda f: f.trouble is None, 20)


def test_network_camera_with_broken_jpegs() -> None:
    """Broken JPEGs in a real stream are no pictures: while only they come the camera counts as silent; the good ones
    that follow are taken."""
    with mjpeg_server() as server:
        settings = Camera(open_timeout_s=3, read_timeout_s=1, retry_max_s=1)
        with open_source(server.url, fps=10, camera=settings, patient=True) as source:
            frames = iter(source)
            until(frames, lambda f: f.trouble is None)
            server.mode = "garbage"
            until(frames, lambda f: f.trouble in ("camera.absent", "camera.stalled"))
            server.mode = "live"
            until(frames, lambda f: f.trouble is None, 20)


@pytest.mark.parametrize("source", ["/dev/null", "http://127.0.0.1:9/"])
def test_opening_adds_no_environment_variable(source: str) -> None:
    """The thread of the camera opens it: a variable that is new there moves the environment under other threads."""
    code = f"""
import os
from agent.config import Camera
from agent.errors import FerAgentError
from agent.vision.capture import open_source
before = set(os.environ)
try:
    with open_source({source!r}, fps=1, camera=Camera(open_timeout_s=1)):
        pass
except FerAgentError:
    print(*set(os.environ) - before)
"""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV_")}
    got = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert (got.stdout, got.returncode) == ("\n", 0), got.stderr
