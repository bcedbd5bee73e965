"""The thread that owns the camera: opens, takes every picture, reopens with back-off. Shares only the newest one."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from agent.errors import FerAgentError
from agent.vision.grabber import Grabber, Image

_FIRST_RETRY_S: Final = 1.0
_WAIT_S: Final = 0.5
"""Longest nap while waiting, so that `progressed_at` shows a thread that lives."""


class GrabLoop:
    """Every public method may be called from any thread; the camera itself is touched by the one thread alone."""

    def __init__(
        self, connect: Callable[[], Grabber], *, retry_max_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bad = 0
        """Pictures that could not be decoded."""
        self.error: FerAgentError | None = None
        """Why the camera did not open the last time; None once it did."""
        self.progressed_at = clock()
        """When the thread last came back from the driver, seconds of `clock`."""
        self.opened_at = clock()
        """When the camera opened the last time, seconds of `clock`."""
        self._connect, self._retry_max_s, self._clock = connect, retry_max_s, clock
        self._grabber: Grabber | None = None
        self._changed = threading.Condition()
        self._open = self._held = False
        self._wanted = False
        self._picture: tuple[Image, float] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    @property
    def is_open(self) -> bool:
        """Whether the camera is open now."""
        return self._grabber is not None

    @property
    def held(self) -> bool:
        """Whether the thread has the camera, or is about to open or to close it."""
        return self._held

    def start(self, *, open_now: bool) -> None:
        """Start the thread; the camera opens at once or at the first `open`."""
        self._open = open_now
        self._thread.start()

    def open(self) -> None:
        """Have the camera open from now on."""
        self._set_open(True)

    def shut(self) -> None:
        """Have the camera closed from now on, and forget the picture."""
        self._set_open(False)

    def _set_open(self, value: bool) -> None:
        with self._changed:
            if self._open != value:
                self._open, self._picture, self._wanted = value, None, False
                self._changed.notify_all()

    def next(self, timeout: float, stop: threading.Event | None = None) -> tuple[Image, float] | None:
        """Return a picture taken after this call and its time, seconds; None if none came within `timeout`."""
        end = time.monotonic() + timeout
        with self._changed:
            self._wanted = True
            while self._picture is None and (left := end - time.monotonic()) > 0 and not (stop and stop.is_set()):
                self._changed.wait(min(left, _WAIT_S))
            picture, self._picture, self._wanted = self._picture, None, False
        return picture

    def stop(self, timeout: float) -> bool:
        """End the thread; return False if the driver still holds it after `timeout` seconds."""
        self._ended.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Serve until stopped; whatever the driver raises is a camera that is not there."""
        pause = _FIRST_RETRY_S
        while not self._ended.is_set():
            self.progressed_at = self._clock()
            if not self._open:
                self._nap(_WAIT_S)
                continue
            if self._session():
                pause = _FIRST_RETRY_S
            # Jitter: cameras of one room must not come back to one switch in step.
            until = self._clock() + pause * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
            pause = min(pause * 2, self._retry_max_s)
            while self._open and not self._ended.is_set() and self._clock() < until:
                self._nap(min(_WAIT_S, max(0.0, until - self._clock())))

    def _nap(self, seconds: float) -> None:
        with self._changed:
            if not self._ended.is_set():
                self._changed.wait(seconds)
        self.progressed_at = self._clock()

    def _session(self) -> bool:
        """Open the camera and take pictures until it fails or must close; say whether it gave any."""
        seen, self._held = False, True
        try:
            grabber = self._connect()
            self.opened_at, self.error, self._grabber = self._clock(), None, grabber
            while self._open and not self._ended.is_set() and grabber.grab():
                seen = True
                self._keep(grabber)
        except FerAgentError as error:
            self.error = error
        except Exception as error:  # a driver's own exception type (cv2.error, RuntimeError, …)
            self.error = FerAgentError(f"camera driver failed: {type(error).__name__}: {error}")
        finally:
            last, self._grabber = self._grabber, None
            if last is not None:
                with contextlib.suppress(Exception):  # a driver's own types; the thread must live to open it again
                    last.close()
            self._held = False
            self.progressed_at = self._clock()
        return seen

    def _keep(self, grabber: Grabber) -> None:
        """Decode the picture just taken if somebody waits for one."""
        at = self.progressed_at = self._clock()
        if not self._wanted:
            return
        image = grabber.retrieve()
        if image is None:
            self.bad += 1
            return
        with self._changed:
            if self._wanted:
                self._picture, self._wanted = (image, at), False
                self._changed.notify_all()
