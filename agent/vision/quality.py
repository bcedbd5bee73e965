"""May this face be classified? Size, sharpness, exposure and pose; a rejected face is missing, not an emotion."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.records import Box
from agent.vision import align

SHARPNESS_SIDE: Final = 48
"""Crops are compared at this side, pixels, so that one blur limit fits all sizes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a face must fulfil."""

    least_width: float = 22.0
    """Detector's box, pixels. Test faces shrunk to this width lose about 6 points of accuracy, at 31 px 2."""
    least_sharpness: float = 12.0
    """Variance of the Laplacian over the contrast of the crop, at `SHARPNESS_SIDE`; see `sharpness`."""
    darkest: float = 25.0
    """Least mean grey level, 0-255."""
    brightest: float = 235.0
    """Largest mean grey level, 0-255."""
    most_roll: float = 50.0
    """Largest tilt of the eyes' line, degrees."""
    least_eyes: float = 0.18
    """Least distance of the eyes, widths of the box: a head turned away shows them close together."""


def rejection(box: Box, crop: npt.NDArray[np.uint8], limits: Limits) -> str | None:
    """Return why the face must not be classified (a code of `records.Face.rejected`), or None."""
    if box.width < limits.least_width:
        return "small"
    if _turned(box, limits):
        return "turned"
    mean = float(crop.mean())
    if mean < limits.darkest:
        return "dark"
    if mean > limits.brightest:
        return "bright"
    return "blurred" if sharpness(crop) < limits.least_sharpness else None


def sharpness(crop: npt.NDArray[np.uint8]) -> float:
    """Return how sharp a crop is: variance of its Laplacian, over its grey levels' variance, in percent.

    Divided by the contrast, so that a dim room is not taken for a blurred one.
    """
    side = SHARPNESS_SIDE
    same = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    contrast = float(same.var())
    return 100 * float(cv2.Laplacian(same, cv2.CV_32F).var()) / contrast if contrast > 0 else 0.0


def _turned(box: Box, limits: Limits) -> bool:
    if box.eyes is None:
        return False
    (x0, y0), (x1, y1) = box.eyes
    apart = float(np.hypot(x1 - x0, y1 - y0)) / box.width
    return apart < limits.least_eyes or abs(np.degrees(align.roll(box))) > limits.most_roll
