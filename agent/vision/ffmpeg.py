"""How OpenCV's FFmpeg opens a film or a stream, and what it is told for the whole process."""

import os

import cv2

# Set here, before any thread runs (see `grabber`). FFmpeg prints lines of its own for every broken frame; errors are
# told in ours, once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# TCP first, UDP where the camera refuses it: with UDP, which FFmpeg would take, each lost packet smears pictures until
# the next keyframe. OpenCV 4.11 asks for TCP first if this is set to anything at all, and reads nothing else out of it.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp")


def capture(source: str, *, open_s: float, read_s: float) -> cv2.VideoCapture:
    """Return the source, opened or not (`isOpened`); it gives up after `open_s`, and a picture after `read_s`."""
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(open_s * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_s * 1000)),
    ]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
