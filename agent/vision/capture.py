"""Opens what the agent looks at: a video file, a camera, or a stream. Yields `Frame`s at the sampling rate.

Law: what the policy gate calls live (`policy.is_live`) is opened as a camera, which a pause closes, or not at all.
A file gives frames by MEDIA time (a gif's delays count) and ends; a camera gives the newest picture and never ends.
"""

from collections.abc import Callable
from pathlib import Path

from agent.config import Camera
from agent.config.words import without_login
from agent.errors import ConfigError
from agent.insight.policy import is_live
from agent.trust.hardening import keep_memory_private
from agent.vision.camera import LiveCamera, Notice
from agent.vision.grabber import Grabber, OpenCvGrabber, PicameraGrabber
from agent.vision.stream import StreamGrabber
from agent.vision.video import VideoFile


def open_source(
    source: str,
    *,
    fps: float,
    realtime: bool = False,
    camera: Camera | None = None,
    patient: bool = False,
    closed: Callable[[], str | None] = lambda: None,
    notice: Callable[[Notice], None] = lambda _: None,
) -> VideoFile | LiveCamera:
    """Return the source, not yet opened: it opens in `with`.

    Parameters
    ----------
    source : path of a video, camera index, /dev/video path, "picamera2", RTSP or HTTP URL
    fps : frames per second to yield
    realtime : play a file at the speed it was recorded at, instead of as fast as it can be read
    camera : time-outs, size and so on of a live camera
    patient : never raise for a camera that is not there; yield frames with a reason code instead (the service)
    closed : asked before every frame; returns why the camera must be shut now ("paused", "schedule"), or None
    notice : told of what happened to the camera (lost, back, resized)

    Raises
    ------
    InputError
        no such video, or one without a single frame (raised by `with`)
    UnavailableError
        the camera does not open and `patient` is false (raised by `with`)
    """
    camera = camera or Camera()
    if is_camera(source):
        keep_memory_private()  # whatever the command: from here on pictures of people are in this memory
        return LiveCamera(
            lambda: _grabber(source, camera),
            name=without_login(source),
            fps=fps,
            settings=camera,
            patient=patient,
            closed=closed,
            notice=notice,
        )
    return VideoFile(source, fps=fps, realtime=realtime, settings=camera, closed=closed)


def _grabber(source: str, settings: Camera) -> Grabber:
    """Open what is live. Raises AccessError or UnavailableError."""
    if source.lower() == "picamera2":
        return PicameraGrabber(source, settings)
    if source.isdecimal() or source.startswith("/dev/"):
        return OpenCvGrabber(source, settings)
    return StreamGrabber(source, settings)


def is_camera(source: str) -> bool:
    """True for what is opened as a camera: what is live, save a folder or pipe, or a path in a closed folder, which the
    video's own check refuses."""
    try:
        return is_live(source) and (source.startswith("/dev/") or not _there(source))
    except ConfigError:
        return False


def _there(source: str) -> bool:
    """True if a file, folder or pipe is seen to have this name; a long address is none."""
    try:
        return Path(source).exists()
    except (OSError, ValueError):
        return False
