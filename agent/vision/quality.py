"""May this face be classified? Size, sharpness, exposure and pose; a rejected face is missing, not an emotion."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.records import Box
from agent.vision import align

SHARPNESS_SIDE: Final = 48
"""Larger crops are judged at this side, pixels: what is lost above it, the network does not see anyway."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a face must fulfil."""

    least_width: float = 22.0
    """Detector's box, pixels. Faces shrunk to this width lose 7 points of accuracy, to 25 px 4."""
    least_sharpness: float = 4.0
    """See `sharpness`. Faces blurred by a Gaussian of 1/48 of the crop have 6.5 and lose 7 points of accuracy,
    those of 1.5/48 have 2.3 and lose 24."""
    darkest: float = 35.0
    """Least mean grey level, 0-255. Faces dimmed to 39 lose 7 points of accuracy, to 26 17."""
    brightest: float = 215.0
    """Largest mean grey level, 0-255. Faces brightened to 206 lose 5 points of accuracy, to 226 15."""
    most_roll: float = 60.0
    """Largest tilt of the eyes' line, degrees."""
    least_eyes: float = 0.25
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
    """Return how sharp a crop is: its Laplacian's variance over its grey levels' variance, in percent.

    Divided by the contrast, so that a dim room is not taken for a blurred one; brought to `SHARPNESS_SIDE` by the
    cube of the side, which makes faces of 28 to 48 px, blurred by the same part of their side, come out alike.
    """
    side = min(SHARPNESS_SIDE, crop.shape[0])
    same = crop
    if side < crop.shape[0]:
        same = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    contrast = float(same.var())
    if contrast == 0:
        return 0.0
    return float(100 * float(cv2.Laplacian(same, cv2.CV_32F).var()) / contrast * (side / SHARPNESS_SIDE) ** 3)


def _turned(box: Box, limits: Limits) -> bool:
    if box.eyes is None:
        return False
    (x0, y0), (x1, y1) = box.eyes
    apart = float(np.hypot(x1 - x0, y1 - y0)) / box.width
    return apart < limits.least_eyes or abs(np.degrees(align.roll(box))) > limits.most_roll
