"""A camera of the network (RTSP, HTTP) through OpenCV's FFmpeg. Blocking; the thread of `grab_loop` owns it.

Law: a picture that was not waited for is not given. FFmpeg has queued seconds of them when it opens, and once a stream
stalls its decoder gives out, one a time-out, those that it still held.
"""

import time
from typing import Final

import cv2

from agent.config import Camera
from agent.config.words import without_login
from agent.errors import UnavailableError
from agent.vision import ffmpeg, reach
from agent.vision.backlog import Backlog
from agent.vision.grabber import Image
from agent.vision.picture import bgr

_LEAST_OPEN_S: Final = 1.0
"""What a stream has to open, however long the connection took."""
_FAR_S: Final = 10.0
"""Pictures this late will not catch up, seconds: the stream is opened anew, and why is told."""


class StreamGrabber:
    """A stream. The constructor opens it.

    Raises
    ------
    UnavailableError
        it is not there, or does not answer in time; from `grab`: it comes faster than this device decodes it
    """

    def __init__(self, source: str, settings: Camera) -> None:
        self._name, self._read_s = without_login(source), settings.read_timeout_s
        began, at = time.monotonic(), reach.place(source)
        try:
            if at is not None:
                reach.check(*at, settings.open_timeout_s)
            self._backlog, self._seen = Backlog(time.monotonic()), False
            left_s = max(_LEAST_OPEN_S, settings.open_timeout_s - (time.monotonic() - began))
            open_s = min(settings.open_timeout_s, left_s)
            self._capture = ffmpeg.capture(source, open_s=open_s, read_s=settings.read_timeout_s)
            if not self._capture.isOpened():
                self._capture.release()
                raise UnavailableError(reach.why_not(source))
        except UnavailableError as error:
            raise UnavailableError(f"expected a camera at {self._name}, got none: {error}") from error

    def grab(self) -> bool:
        while self._take():
            taken_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not self._backlog.behind(taken_s, time.monotonic()):
                self._seen = True
                return True
            if self._backlog.late_s > _FAR_S:
                what = f"expected pictures of {self._name} as they are taken, got them {_FAR_S:g} s late"
                mend = "choose the camera's smaller stream, or give it fewer frames a second"
                raise UnavailableError(f"{what}: this device decodes them slower than they come; {mend}")
        if not self._seen:
            what = f"expected a picture of {self._name} within {self._read_s:g} s once it opened, got none"
            mend = "set the camera's keyframe (I-frame) interval below camera.read_timeout_s"
            raise UnavailableError(f"{what}; {mend}, and check that it is switched on")
        return False

    def _take(self) -> bool:
        """Take the next picture; False if none came in time, though FFmpeg then gives one that its decoder held."""
        began = time.monotonic()
        return bool(self._capture.grab()) and time.monotonic() - began < self._read_s

    def retrieve(self) -> Image | None:
        good, image = self._capture.retrieve()
        picture = bgr(image) if good else None
        return None if picture is None else ffmpeg.squared(self._capture, picture)

    def close(self) -> None:
        self._capture.release()
