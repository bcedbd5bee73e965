"""How OpenCV's FFmpeg opens a film or a stream, what it is told for the whole process, and what it leaves to us."""

import os
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

# Set here, before any thread runs (see `grabber`). FFmpeg prints lines of its own for every broken frame; errors are
# told in ours, once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# TCP first, UDP where the camera refuses it: with UDP, which FFmpeg would take, each lost packet smears pictures until
# the next keyframe. OpenCV 4.11 asks for TCP first if this is set to anything at all, and reads nothing else out of it.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp")

_SQUARE: Final = 0.02
"""Pixels are square if width and height differ by less than this share."""
_WIDEST: Final = 4.0
"""Width over height of a pixel, or height over width, beyond which a file is damaged."""


def capture(source: str, *, open_s: float, read_s: float) -> cv2.VideoCapture:
    """Return the source, opened or not (`isOpened`); it gives up after `open_s`, and a picture after `read_s`."""
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(open_s * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_s * 1000)),
    ]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)


def on_its_side(capture: cv2.VideoCapture) -> bool:
    """Return whether its pictures are turned by 90 or 270 degrees as they are decoded."""
    return bool(round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90)


def squared(capture: cv2.VideoCapture, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return `image`, uint8 (h, w, 3), just taken from `capture`, with square pixels, as players show it.

    Camcorders (1440x1080 for 1920x1080), DV and analogue cameras store pictures that are squeezed, and faces with them.
    The short side grows, so that nothing is lost.
    """
    high = float(capture.get(cv2.CAP_PROP_SAR_DEN))
    aspect = float(capture.get(cv2.CAP_PROP_SAR_NUM)) / high if high > 0 else 0.0
    if not 1 / _WIDEST <= aspect <= _WIDEST or abs(aspect - 1) < _SQUARE:
        return image
    if on_its_side(capture):
        aspect = 1 / aspect
    height, width = image.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
