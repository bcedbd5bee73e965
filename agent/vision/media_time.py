"""When a frame of a film is to be shown: seconds from the first one, from the times that its container gives.

Pure state without IO. What happens where the times misbehave:
- they stand still or are none, as in a container without any: frames are counted;
- they go back a little, as where frames are out of order: the time waits for them;
- they go back by more, where a recording began anew in the same file: they count from there on;
- in a transport or program stream (`restarts`) they leap: recordings that were written one behind the other, or a
  counter that ran over. Players go on with the next frame there, and so does this; elsewhere a leap is a long frame.
"""

from typing import Final

_BACK_S: Final = 1.0
"""A step back by more is a new beginning, not frames out of order: decoders hold back a second's frames at most."""
_LEAP_S: Final = 10.0
"""FFmpeg's own bound of a leap in such streams (`-dts_delta_threshold`)."""
_NO_TIME_S: Final = 1e9
"""OpenCV takes FFmpeg's mark of a missing time for a time, 244,000 years off: in raw streams (.m2v, .mjpeg) all are so
but that of the last frame."""
_HEAD: Final = 2048
"""Bytes that `restarts` looks at: five packets from any place on."""
_PACKETS: Final = (188, 192, 204)
"""Bytes of a transport stream's packet: plain, of a camcorder (AVCHD), with parity."""


class MediaTime:
    """Add positions in the order of the frames. Single-threaded."""

    def __init__(self, nominal_fps: float, *, restarts: bool) -> None:
        """Args: nominal_fps: frames a second that the container states; restarts: a leap is no long frame."""
        self._period = 1 / nominal_fps
        self._restarts = restarts
        self._start: float | None = None
        self._position = self._last = 0.0

    def of(self, position: float) -> float:
        """Return the time of the frame at `position`, both seconds: never less than the one before, 0 for the first."""
        known = abs(position) < _NO_TIME_S
        if self._start is None:
            self._start = self._position = position if known else 0.0
            return self._last
        if position == self._position or not known:
            self._last += self._period
            return self._last
        self._position = position
        step = position - self._start - self._last
        if step < -_BACK_S or (self._restarts and step > max(_LEAP_S, 2 * self._period)):
            step = self._period
            self._start = position - self._last - step
        self._last += max(0.0, step)
        return self._last


def restarts(head: bytes) -> bool:
    """True if a file that begins with `head` is an MPEG transport or program stream: both may be cut and joined."""
    if head.startswith(b"\0\0\1\xba"):
        return True
    return any(
        all(head[first + n * size : first + n * size + 1] == b"G" for n in range(5))
        for size in _PACKETS
        for first in range(size)
    )


def head_of(path: str) -> bytes:
    """Return the first bytes of a file, enough for `restarts`. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(_HEAD)
