"""What is taken from a stream, and what is said of one that gives nothing that can be used."""

import time

import numpy as np
import pytest

from agent.config import Camera
from agent.errors import UnavailableError
from agent.vision import stream
from agent.vision.stream import StreamGrabber


class FakeCapture:
    """A capture that opens; each picture takes `wait_s` to come and is `step_s` after the one before."""

    def __init__(self, wait_s: float, step_s: float) -> None:
        self.wait_s, self.step_s, self.number = wait_s, step_s, 0

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        time.sleep(self.wait_s)
        self.number += 1
        return True

    def get(self, _: int) -> float:
        return self.number * self.step_s * 1000

    def retrieve(self) -> tuple[bool, object]:
        return True, np.zeros((8, 8, 3), np.uint8)

    def release(self) -> None:
        pass


def opened(capture: FakeCapture, monkeypatch: pytest.MonkeyPatch, read_timeout_s: float) -> StreamGrabber:
    monkeypatch.setattr(stream.cv2, "VideoCapture", lambda *_: capture)
    return StreamGrabber("udp://239.0.0.1:5000", Camera(read_timeout_s=read_timeout_s))


def test_what_the_decoder_held_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the time-out is over FFmpeg gives the pictures that its decoder still held: the stream has stalled."""
    capture = FakeCapture(0, 0.1)
    grabber = opened(capture, monkeypatch, read_timeout_s=0.2)
    assert grabber.grab()
    capture.wait_s = 0.25
    assert not grabber.grab()


def test_a_stream_that_is_too_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that come ever later are more than this device can decode: it ends, and says what to choose instead."""
    monkeypatch.setattr(stream, "_FAR_S", 1.5)
    grabber = opened(FakeCapture(0.05, 0.005), monkeypatch, read_timeout_s=5)
    with pytest.raises(UnavailableError, match=r"slower than they come; choose the camera's smaller stream"):
        all(iter(grabber.grab, False))
