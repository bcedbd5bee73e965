"""The Raspberry Pi camera, with a package in Picamera2's place: the real one needs its hardware."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Camera
from agent.errors import UnavailableError
from agent.vision.grabber import PicameraGrabber

WORKS = """
import numpy as np
log = []
class Picamera2:
    def create_video_configuration(self, main, buffer_count): return main
    def configure(self, config): log.append(config)
    def start(self): log.append("start")
    def capture_array(self, name): return np.full((*log[0]["size"][::-1], 3), 7, np.uint8)
    def stop(self): log.append("stop")
    def close(self): log.append("close")
"""
NO_CAMERA = "class Picamera2:\n    def __init__(self): raise IndexError('list index out of range')\n"
OTHER_NUMPY = "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')\n"


@pytest.fixture
def picamera2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a package of this text in Picamera2's place."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    yield lambda text: (tmp_path / "picamera2.py").write_text(text)
    sys.modules.pop("picamera2", None)


def test_pictures_in_the_size_and_order_asked_for(picamera2: Callable[[str], None]) -> None:
    """It is asked for BGR pictures of the configured size, and is stopped and closed."""
    picamera2(WORKS)
    grabber = PicameraGrabber("picamera2", Camera(width=320, height=240))
    assert grabber.grab()
    assert grabber.retrieve().shape == (240, 320, 3)
    grabber.close()
    log = sys.modules["picamera2"].log
    assert log == [{"size": (320, 240), "format": "RGB888"}, "start", "stop", "close"]


@pytest.mark.parametrize(("text", "says"), [(NO_CAMERA, "a Raspberry Pi camera"), (OTHER_NUMPY, "numpy<2")])
def test_what_keeps_it_away_is_said(picamera2: Callable[[str], None], text: str, says: str) -> None:
    """No camera on the connector, or bookworm's Picamera2 beside numpy 2: one line with what to do."""
    picamera2(text)
    with pytest.raises(UnavailableError, match=says):
        PicameraGrabber("picamera2", Camera())


@pytest.mark.parametrize(
    ("broken", "log"),
    [("configure(self, config)", ["stop", "close"]), ("start(self)", [{"size": (320, 240), "format": "RGB888"}, "stop",
     "close"])],
)  # fmt: skip
def test_one_that_does_not_start_is_let_go(picamera2: Callable[[str], None], broken: str, log: list[object]) -> None:
    """What fails half-way is closed: the next try must not find it busy."""
    picamera2(WORKS + f"    def {broken}: raise RuntimeError('no such size')\n")
    with pytest.raises(UnavailableError, match="no such size"):
        PicameraGrabber("picamera2", Camera(width=320, height=240))
    assert sys.modules["picamera2"].log == log


def test_it_is_closed_whatever_its_stop_says(picamera2: Callable[[str], None]) -> None:
    """A stop that fails must not keep the camera."""
    picamera2(WORKS + "    def stop(self): raise OSError('gone')\n")
    grabber = PicameraGrabber("picamera2", Camera())
    grabber.close()
    assert sys.modules["picamera2"].log[-1] == "close"


def test_without_the_package(picamera2: Callable[[str], None]) -> None:
    """Without Picamera2 the line names Debian's package."""
    with pytest.raises(UnavailableError, match="apt install python3-picamera2"):
        PicameraGrabber("picamera2", Camera())
