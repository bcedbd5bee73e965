"""Face box and eyes → the square grey crop that the classifier was trained on: level eyes, the dataset's margin."""

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.records import Box

MARGIN: Final = 1.1
"""Side of the crop in widths of the detector's box: the best of 1.0 to 1.35 on 1,463 validation faces."""

NATURAL_ROLL: Final = math.radians(12)
"""A head's tilt up to which it is left, radians: the dataset's faces have it too, and levelling them fully cost
1 point of accuracy on the same faces; of a larger tilt, this much is left."""

LARGEST: Final = 128
"""Longest side of a crop, pixels: larger faces are shrunk, so that 200 faces stay small in memory."""


def roll(box: Box) -> float:
    """Return the angle of the line through the eyes, radians, clockwise in the picture; 0 without eyes."""
    if box.eyes is None:
        return 0.0
    (x0, y0), (x1, y1) = box.eyes
    return math.atan2(y1 - y0, x1 - x0)


def correction(angle: float) -> float:
    """Return by how much a face with this roll is turned, radians: what exceeds `NATURAL_ROLL`."""
    return math.copysign(max(0.0, abs(angle) - NATURAL_ROLL), angle)


def crop(grey: npt.NDArray[np.uint8], box: Box, rise: float, margin: float = MARGIN) -> npt.NDArray[np.uint8]:
    """Return the face, upright, as uint8 array of shape (s, s), grey 0-255, 1 <= s <= `LARGEST`.

    Parameters
    ----------
    grey : uint8 array of shape (h, w)
    box : in pixels of `grey`; what lies outside the picture repeats the border
    rise : how far the crop's centre lies above the box's, in sides of the crop
    margin : side of the crop in widths of the box
    """
    side = margin * box.width
    out = max(1, min(LARGEST, round(side)))
    if side > 2 * out:
        return _shrunk(grey, box, rise, margin, side / out)
    angle = correction(roll(box))
    return square(grey, (box.x + box.width / 2, box.y + box.height / 2), rise, side, angle, out)


def square(
    grey: npt.NDArray[np.uint8], point: tuple[float, float], rise: float, side: float, angle: float, out: int
) -> npt.NDArray[np.uint8]:
    """Return a tilted square of `grey`, uint8 (h, w), as uint8 (out, out); what lies outside repeats the border.

    Parameters
    ----------
    point : (x, y), pixels; the first pixel reaches from 0 to 1
    rise : how far the square's centre lies above `point`, in its sides; "up" is the square's own
    side : pixels of `grey`
    angle : of its upper edge, radians, clockwise in the picture
    """
    scale = side / out
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    # Output pixel (u, v) → picture pixel, pixel centres at integers.
    x = point[0] - 0.5 + math.sin(angle) * rise * side
    y = point[1] - 0.5 - math.cos(angle) * rise * side
    middle = (out - 1) / 2
    matrix = np.array([[cos, -sin, x - (cos - sin) * middle], [sin, cos, y - (sin + cos) * middle]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grey, matrix, (out, out), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _shrunk(grey: npt.NDArray[np.uint8], box: Box, rise: float, margin: float, factor: float) -> npt.NDArray[np.uint8]:
    """Cut a face much larger than `LARGEST`: shrink its surroundings by area first, since warping would alias."""
    reach = margin * box.width
    # Of a box that lies outside, the nearest row and column are left: the border is repeated.
    left, top = (min(max(0, int(c - reach)), n - 1) for c, n in ((box.x, grey.shape[1]), (box.y, grey.shape[0])))
    right, bottom = max(left + 1, int(box.x + box.width + reach)), max(top + 1, int(box.y + box.height + reach))
    part = grey[top:bottom, left:right]
    width, height = max(1, round(part.shape[1] / factor)), max(1, round(part.shape[0] / factor))
    small = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    # A strip thinner than the factor cannot shrink by it; all that is seen of such a face is a border, repeated.
    sx, sy = (
        new / old if old >= factor else 1 / factor for new, old in ((width, part.shape[1]), (height, part.shape[0]))
    )

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (point[0] - left) * sx, (point[1] - top) * sy

    x, y = place((box.x, box.y))
    eyes = None if box.eyes is None else (place(box.eyes[0]), place(box.eyes[1]))
    return crop(small, Box(x, y, box.width * sx, box.height * sy, box.score, eyes), rise, margin)
