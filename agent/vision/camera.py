"""A camera that never ends: newest picture only, time-outs, reconnects with back-off, a reason when nothing is seen.

One thread owns the camera and takes every picture that comes, so that none queues up; it decodes only the one that
was asked for. The loop asks at the sampling rate and gets a fresh picture, or an empty frame with a reason code, so
that windows close on time whatever the camera does.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import numpy as np

from agent.config import Camera
from agent.errors import UnavailableError
from agent.records import Frame
from agent.vision.grab_loop import GrabLoop
from agent.vision.grabber import Grabber, Image
from agent.vision.picture import ABSENT, STALLED, PictureJudge
from agent.vision.waits import stopped_before

_EMPTY: Final = np.zeros((0, 0, 3), np.uint8)
"""The picture of a frame without one."""
_LEAVE_S: Final = 5.0
"""Longest wait for the driver at the end: the service manager gives the whole stop 20 s."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened to the camera: worth an event and a log line, once."""

    reason: str
    """"camera.lost", "camera.back" or "camera.resized"."""
    detail: str
    """For people, without personal data."""


class LiveCamera:
    """A camera or stream. A context manager; iterate it once; it ends only by `stop`."""

    def __init__(
        self,
        connect: Callable[[], Grabber],
        *,
        name: str,
        fps: float,
        settings: Camera,
        patient: bool = False,
        closed: Callable[[], str | None] = lambda: None,
        notice: Callable[[Notice], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not fps > 0:
            raise ValueError(f"expected fps > 0, got {fps}")
        self._name, self._period, self._settings, self._patient = name, 1 / fps, settings, patient
        self._judge = PictureJudge(settings.frozen_after_s)
        self._closed, self._notice, self._clock = closed, notice, clock
        self._loop = GrabLoop(connect, retry_max_s=settings.retry_max_s, clock=clock)
        self._stop = threading.Event()
        self._last_picture = -np.inf
        self._last_at = -np.inf
        self._waited_at = clock()
        self._shape: tuple[int, ...] | None = None
        self._shown = False
        """Whether it showed a picture since it was last shut."""
        self._lost: str | None = None

    @property
    def bad(self) -> int:
        """Pictures that could not be decoded."""
        return self._loop.bad

    def held(self) -> bool:
        """Return whether the camera is open, or about to be opened or closed: a driver may take seconds for either."""
        return self._loop.held

    def progressed_at(self) -> float:
        """Return when the thread last came back from the camera's driver, seconds: the watchdog's evidence."""
        return self._loop.progressed_at

    def waited_at(self) -> float:
        """Return when the iteration last looked for a picture, seconds: waiting for one is no hang of the loop."""
        return self._waited_at

    def stop(self) -> None:
        """End the iteration; safe from another thread, not from a signal handler."""
        self._stop.set()

    def __enter__(self) -> "LiveCamera":
        """Start; unless `patient`, wait for the first picture.

        Raises
        ------
        FerAgentError
            the camera does not open (AccessError, UnavailableError), or sends nothing; never when `patient`
        """
        self._last_picture = self._clock()
        self._loop.start(open_now=self._closed() is None)
        if not self._patient and self._closed() is None:
            try:
                self._expect_picture()
            except BaseException:
                self._loop.stop(0.5)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the camera; a driver that hangs is left to its thread, which dies with the process."""
        self.stop()
        self._loop.stop(min(self._settings.read_timeout_s, _LEAVE_S))

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame a period until `stop`."""
        due = self._clock()
        while not stopped_before(due, self._stop, self._clock, self._tick):
            frame = self._look(due + self._period)
            self._waited_at = self._clock()
            if frame is not None:
                yield frame
            # A loop slower than the rate starts a new grid instead of catching up in bursts.
            due = max(due + self._period, self._clock())

    def _tick(self) -> None:
        """Note that this is a wait; a pause shuts the camera without waiting for its end."""
        self._waited_at = self._clock()
        if self._closed():
            self._loop.shut()

    def _expect_picture(self) -> None:
        """Wait for the first picture, or raise what keeps it away."""
        limit = self._settings.open_timeout_s + self._settings.read_timeout_s
        end = self._clock() + limit
        while self._clock() < end:
            if self._loop.next(0.05) is not None:
                return
            if self._loop.error is not None:
                raise self._loop.error
        what = f"expected a picture from camera {self._name} within {limit:g} s, got none"
        raise UnavailableError(f"{what}; check that it shows one elsewhere, and camera.read_timeout_s")

    def _look(self, until: float) -> Frame | None:
        """Return this tick's frame; None if it is too early to say that the camera is silent."""
        if reason := self._closed():
            return self._shut(reason)
        self._loop.open()
        picture = self._loop.next(max(0.0, until - self._clock()), self._stop)
        now = self._clock()
        if picture is not None:
            return self._seen(*picture)
        # What took its time to open has not been silent meanwhile; one that was lost already stays so until it shows.
        opened = self._loop.opened_at if self._loop.is_open and self._lost is None else -np.inf
        silent = now - max(self._last_picture, opened)
        # A driver may give up a silent stream a moment before we do: until it fails to open again, it has stalled.
        stalled = self._loop.is_open or (self._shown and self._loop.error is None)
        if silent < (self._settings.read_timeout_s if stalled else self._patience()):
            return None
        reason = STALLED if stalled else ABSENT
        self._tell_lost(reason)
        return self._frame(_EMPTY, now, reason)

    def _patience(self) -> float:
        """Return how long a camera may take to open before it counts as absent, seconds."""
        return 0.0 if self._loop.error is not None else self._settings.open_timeout_s

    def _shut(self, reason: str) -> Frame:
        """Close the camera, as pause or schedule demand, and return the frame that says so."""
        self._loop.shut()
        self._last_picture, self._shown = self._clock(), False
        self._judge.reset()
        return self._frame(_EMPTY, self._clock(), reason)

    def _seen(self, image: Image, at: float) -> Frame:
        """Return the frame of a picture that came."""
        self._last_picture, self._shown = at, True
        if self._lost is not None:
            self._lost = None
            self._notice(Notice("camera.back", f"{self._name} sends pictures again"))
            self._judge.reset()
        if self._shape is not None and image.shape != self._shape:
            was, now = (f"{s[1]}x{s[0]}" for s in (self._shape, image.shape))
            self._notice(Notice("camera.resized", f"{was} became {now}; run: fer-agent calibrate --part camera"))
        self._shape = image.shape
        return self._frame(image, at, self._judge.add(image, at))

    def _tell_lost(self, reason: str) -> None:
        """Tell that it is lost, and again once another reason is known: back with a new password, it refuses ours."""
        why = "" if self._loop.error is None else f": {self._loop.error}"
        if self._lost is None or (why and why != self._lost):
            self._lost = why
            with contextlib.suppress(OSError):
                self._notice(Notice("camera.lost", f"{self._name}: {reason}{why}"))

    def _frame(self, image: Image, at: float, trouble: str | None) -> Frame:
        """Return a frame whose time is after the one before."""
        self._last_at = max(at, float(np.nextafter(self._last_at, np.inf)))
        return Frame(image, self._last_at, trouble)
