"""Plays a video file: frames on a grid of media time, then the end. Full speed, or as fast as it was taken."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from agent.config import Camera
from agent.config.words import without_login
from agent.errors import InputError
from agent.records import Frame
from agent.vision import ffmpeg, media_time, mp4
from agent.vision.grabber import Image
from agent.vision.picture import bgr
from agent.vision.waits import stopped_before

_NOMINAL_FPS: Final = 25.0
"""Taken for a container that states no rate and no times."""
_TOLERANCE_S: Final = 0.0005
"""A frame this much early counts as on the grid: containers round times to milliseconds."""
_CUT_OFF: Final = "; its index (moov) is missing: the copy or the recording stopped before its end"
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat version")
"""How the lists of files begin that FFmpeg plays as if they were one: HLS, and its own."""


class VideoFile:
    """A video with an end. A context manager; iterate it once.

    The first frame at or after every multiple of 1/fps seconds of media time is yielded, `Frame.at` being its
    media time in seconds from the first frame. Frames that cannot be decoded are counted in `bad` and skipped.
    """

    def __init__(
        self,
        source: str,
        *,
        fps: float,
        realtime: bool = False,
        settings: Camera | None = None,
        closed: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not fps > 0:
            raise ValueError(f"expected fps > 0, got {fps}")
        self.bad = 0
        """Frames that could not be decoded."""
        self.late = 0
        """Frames that were left out because their time was over (`realtime`)."""
        self._source, self._fps, self._realtime = source, fps, realtime
        self._settings = settings or Camera()
        self._closed, self._clock, self._stop = closed, clock, threading.Event()
        self._waited_at = -math.inf
        self._capture: Any = None
        self._nominal = _NOMINAL_FPS
        self._mirrored = self._restarts = False
        self._first: Image | None = None

    def __enter__(self) -> "VideoFile":
        """Open the file and read its first frame, so that an empty one is refused here.

        Raises
        ------
        InputError
            there is no such file, it is no video, or has no frame
        """
        check_exists(self._source)
        # The whole path: FFmpeg takes what stands before a colon, as in 10:30.mp4, for a protocol.
        path, limits = str(Path(self._source).absolute()), self._settings
        self._capture = ffmpeg.capture(path, open_s=limits.open_timeout_s, read_s=limits.read_timeout_s)
        try:
            if not self._capture.isOpened():
                what = f"expected a video, got {without_login(self._source)!r}: it cannot be opened as one"
                raise InputError(what + (_CUT_OFF if mp4.cut_off(path) else ""))
            self._mirrored, self._restarts = mp4.mirrored(path), media_time.restarts(media_time.head_of(path))
        except OSError as cause:  # a stick that was pulled out
            raise _unreadable(self._source, cause) from cause
        # Phones store what they filmed upright as it came off the chip, and how it is to be turned beside it.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        if math.isfinite(rate) and 0 < rate <= 1000:
            self._nominal = rate
        while self._first is None and self._capture.grab():
            self._first = self._decode()
        if self._first is None:
            advice = self._advice()
            self._capture.release()
            what = f"expected a video with at least one frame, got {without_login(self._source)!r} with none"
            raise InputError(what + advice)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def held(self) -> bool:
        """Return whether the file is open."""
        return self._capture is not None

    def waited_at(self) -> float:
        """Return when the iteration last waited for a frame's time, seconds: a film may have none for minutes."""
        return self._waited_at

    def stop(self) -> None:
        """End the iteration, also while it waits for a frame's time; safe from another thread, not a signal handler."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of the grid, in order."""
        began, due = self._clock(), 0.0
        asked = began
        for at in self._times():
            if self._stop.is_set():
                return
            if at + _TOLERANCE_S < due:
                continue
            if self._realtime:
                now = self._clock()
                late = now - began - at
                # Too slow for this video: drop frames, as a camera would. Where grabbing alone is too slow, dropping
                # never catches up, and something must be shown.
                if late > 1 / self._fps and now - asked < 1 / self._fps:
                    self.late += 1
                    continue
                if stopped_before(began + at, self._stop, self._clock, self._tick):
                    return
            image = self._first if self._first is not None else self._decode()
            self._first = None
            if image is None:
                continue
            due = (math.floor((at + _TOLERANCE_S) * self._fps) + 1) / self._fps
            yield Frame(image, at, self._closed())
            asked = self._clock()

    def _tick(self) -> None:
        self._waited_at = self._clock()

    def _times(self) -> Iterator[float]:
        """Grab frame after frame; yield the media time of each, seconds from the first, never going back."""
        times = media_time.MediaTime(self._nominal, restarts=self._restarts)
        yield times.of(self._position())
        while self._capture is not None and self._capture.grab():
            yield times.of(self._position())

    def _position(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def _decode(self) -> Image | None:
        """Return the grabbed frame as a player shows it, uint8 (h, w, 3) BGR; None, and count it, if it is broken."""
        good, image = self._capture.retrieve()
        picture = bgr(image) if good else None
        self.bad += picture is None
        if picture is None:
            return None
        if self._mirrored:  # OpenCV turns it so that one axis is right; the other then points the wrong way
            picture = np.asarray(cv2.flip(picture, int(ffmpeg.on_its_side(self._capture))), np.uint8)
        return ffmpeg.squared(self._capture, picture)

    def _advice(self) -> str:
        """Return what to do where the codec is the trouble: OpenCV's wheel opens AV1, as video sites serve it, and
        cannot decode it."""
        codec = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("latin-1")
        if not (codec := codec.strip("\0 ")).isalnum():
            return ""
        return f" that can be decoded here (codec {codec}); convert it: ffmpeg -i FILE -c:v libx264 NEW.mp4"


def check_exists(source: str) -> None:
    """Raise InputError if `source` names no readable file: before anything slow is loaded."""
    path = Path(source)
    try:
        source.encode()
    except UnicodeEncodeError as cause:  # OpenCV ends the process over one
        raise InputError(f"expected a file name in UTF-8, got {source!r}: rename the file") from cause
    try:
        there = path.exists()
    except OSError as cause:
        raise InputError(f"expected a video file, got {source!r}: {cause.strerror}") from cause
    if not there:
        raise InputError(f"expected a video file, camera index or URL, got {source!r}: no such file")
    if path.is_dir():
        raise InputError(f"expected a video file, got the folder {source!r}")
    if not path.is_file():
        raise InputError(
            f"expected a video file, got {source!r}: a pipe or device, for which FFmpeg would wait for ever"
        )
    try:
        head = media_time.head_of(source)
    except OSError as cause:
        raise _unreadable(source, cause) from cause
    if head.startswith(_PLAYLISTS):
        # Law: what is live passes the policy gate. A list may name a pipe, or grow as a camera fills it.
        raise InputError(f"expected a video file, got the playlist {source!r}: give one of the files that it lists")


def _unreadable(source: str, cause: OSError) -> InputError:
    return InputError(f"expected a readable video file, got {source!r}: {cause.strerror}")
