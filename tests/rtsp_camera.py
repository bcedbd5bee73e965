"""A real RTSP camera for tests: `rtsp_server.py` in a process of its own, and the time that its pictures show."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_PYTHON = Path("/usr/bin/python3")
_CELLS = 32


@dataclass(frozen=True)
class RtspCamera:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    port: int

    def url(self, login: str = "", path: str = "live") -> str:
        """The address, with "USER:PASSWORD@" before the host if that is given."""
        return f"rtsp://{login}127.0.0.1:{self.port}/{path}"


@contextmanager
def rtsp_camera(*options: str) -> Iterator[RtspCamera]:
    """Serve until the block ends; skip the test where GStreamer's server is not installed."""
    if not _PYTHON.exists():
        pytest.skip(f"no {_PYTHON}: GStreamer's RTSP server is Debian's")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [_PYTHON, Path(__file__).with_name("rtsp_server.py"), *options]
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        try:
            word, _, rest = process.stdout.readline().partition(" ")
            if word == "missing:":
                pytest.skip(f"no RTSP server (scripts/test names the Debian packages): {rest.strip()}")
            yield RtspCamera(process, int(rest))
        finally:
            process.kill()


def taken_s(image: np.ndarray[Any, np.dtype[np.uint8]], now: float) -> float:
    """When the picture was taken, seconds of time.monotonic(), of which `now` is a later moment."""
    cell = image.shape[1] // _CELLS
    cells = image[4:12, : cell * _CELLS].mean(axis=(0, 2)).reshape(_CELLS, cell).mean(axis=1)
    stamp = sum(1 << bit for bit in range(_CELLS) if cells[bit] > 128)
    return now - (int(now * 1000) - stamp) % (1 << _CELLS) / 1000
