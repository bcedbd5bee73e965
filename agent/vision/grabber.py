"""One opened camera of this device: OpenCV's V4L2 or Picamera2. Blocking; the thread of `grab_loop` owns it."""

import contextlib
import importlib
import os
import pwd
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from agent.config import Camera
from agent.errors import AccessError, UnavailableError
from agent.vision.picture import bgr

Image = npt.NDArray[np.uint8]
_V4L2_TIMEOUT: Final = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
"""OpenCV's V4L2 backend reads its time-out (whole seconds, default 10) from this variable alone."""
# Set here, before any thread runs: a new variable moves the environment, under whoever reads it at that moment (the
# resolver in another thread, for one). A new value for an old one moves nothing.
os.environ.setdefault(_V4L2_TIMEOUT, "10")
cv2.setLogLevel(0)  # OpenCV prints lines of its own for every broken frame; errors are told in ours, once


class Grabber(Protocol):
    """An open camera."""

    def grab(self) -> bool:
        """Wait for the next picture and take it; False if none came."""

    def retrieve(self) -> Image | None:
        """Return the picture taken last, uint8 (h, w, 3) BGR; None if it cannot be decoded."""

    def close(self) -> None:
        """Let the camera go."""


class OpenCvGrabber:
    """A camera index or a /dev path, through OpenCV. The constructor opens it.

    Raises
    ------
    AccessError
        this user may not open the device
    UnavailableError
        it is not there, is in use, or does not answer in time
    """

    def __init__(self, source: str, settings: Camera) -> None:
        device = f"/dev/video{source}" if source.isdecimal() else source
        check_device(Path(device))
        os.environ[_V4L2_TIMEOUT] = str(max(1, round(settings.read_timeout_s)))
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        self._ask(settings)
        if not self._capture.isOpened():
            self._capture.release()
            why = f"in use, or silent; sudo fuser -v {device} names who uses it"
            raise UnavailableError(f"expected a camera at {device}, got none: {why}")

    def _ask(self, settings: Camera) -> None:
        """Ask for the size and for one buffer; cameras take the nearest they have."""
        # MJPG first: raw YUYV at 1280x720 fills USB 2 at 10 frames a second.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def grab(self) -> bool:
        return bool(self._capture.grab())

    def retrieve(self) -> Image | None:
        good, image = self._capture.retrieve()
        return bgr(image) if good else None

    def close(self) -> None:
        self._capture.release()


class PicameraGrabber:
    """A Raspberry Pi camera through Picamera2 (a Debian package; not on PyPI for all systems)."""

    def __init__(self, source: str, settings: Camera) -> None:
        try:
            module: Any = importlib.import_module("picamera2")
        except ImportError as error:
            what = f'camera.source = "{source}" expects Picamera2, got none; run: apt install python3-picamera2'
            raise UnavailableError(f"{what} (the virtual environment needs --system-site-packages)") from error
        except ValueError as error:
            # "numpy.dtype size changed": Debian's was built against numpy 1 (bookworm).
            what = f"expected Picamera2 and numpy to fit, got: {error}; run: pip install 'numpy<2' 'ml-dtypes<0.6'"
            raise UnavailableError(what) from error
        self._camera: Any = None
        try:
            self._camera = module.Picamera2()
            size = (settings.width, settings.height)
            # libcamera's "RGB888" is B, G, R in memory: what OpenCV calls BGR.
            config = self._camera.create_video_configuration(main={"size": size, "format": "RGB888"}, buffer_count=2)
            self._camera.configure(config)
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.close()  # what is not let go is "busy" for every later try
            raise UnavailableError(
                f"expected a Raspberry Pi camera, got: {error}; check its cable, then: rpicam-hello"
            ) from error
        self._image: Image | None = None

    def grab(self) -> bool:
        self._image = np.asarray(self._camera.capture_array("main"), dtype=np.uint8)
        return True

    def retrieve(self) -> Image | None:
        return bgr(self._image)

    def close(self) -> None:
        for end in ("stop", "close") if self._camera is not None else ():
            with contextlib.suppress(Exception):  # a driver's own types; it is closed whatever its stop says
                getattr(self._camera, end)()


def check_device(path: Path) -> None:
    """Raise for a device file that is not there or not ours, naming the command that mends it."""
    if not path.exists():
        have = ", ".join(str(p) for p in sorted(Path("/dev").glob("video*"))) or "none"
        raise UnavailableError(f"expected a camera at {path}, got no such device (there: {have}); is it plugged in?")
    if not os.access(path, os.R_OK | os.W_OK):
        user = _user()
        then = f"systemctl restart {user}" if user == "fer-agent" else "log in again"
        mend = f"sudo usermod -aG video {user}, then {then}"
        raise AccessError(f"{path}: permission denied; {user} is not in the group `video`; run: {mend}")


def _user() -> str:
    """The name of the user whose rights count here."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number without a name, as in a container
        return f"#{os.geteuid()}"
