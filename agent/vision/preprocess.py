"""Face crop → network input. Law: training data, representative set and device all call `preprocess`.

The output is raw grey levels; scaling is the first layer of the graph (`Rescaling`), so that no code on
either side can scale differently. Whoever changes what this returns must raise `version`: it travels in
the model card, and the agent refuses a model made by another version.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

DETAIL: Final = 48
"""Side of a face of FER2013, pixels: finer detail than this no network of ours has ever seen."""


def version(side: int) -> str:
    """Return the name of this exact transformation to `side` pixels; a model's card must have it to be loaded.

    /2 enlarges to inputs beyond `DETAIL` what it shrank to `DETAIL` first; up to there nothing changed since /1.
    """
    return "grey-area-linear/2" if side > DETAIL else "grey-area-linear/1"


def preprocess(crop: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return `crop` as the network takes it.

    Parameters
    ----------
    crop : uint8 array of shape (h, w), (h, w, 1) grey, (h, w, 3) BGR or (h, w, 4) BGRA, values 0-255
    side : side of the square network input, pixels

    Returns
    -------
    uint8 array of shape (side, side, 1), grey, values 0-255

    Raises
    ------
    ValueError
        the crop is empty, not uint8, or of another shape
    """
    if crop.dtype != np.uint8 or crop.ndim not in (2, 3) or 0 in crop.shape:
        raise ValueError(f"expected a non-empty uint8 image, got {crop.dtype} of shape {crop.shape}")
    grey = _grey(crop)
    if side > DETAIL and min(grey.shape) > DETAIL:
        # A larger input was trained on enlarged faces: a sharper one would be a picture of another kind.
        grey = _resized(grey, DETAIL)
    return np.ascontiguousarray(_resized(grey, side))[:, :, np.newaxis]


def _resized(grey: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return `grey`, uint8 (h, w), as uint8 (side, side)."""
    if grey.shape == (side, side):
        return grey
    # Area averaging has no aliasing when shrinking; it degenerates to nearest neighbour when enlarging.
    interpolation = cv2.INTER_AREA if min(grey.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (side, side), interpolation=interpolation), dtype=np.uint8)


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return `image` as uint8 array of shape (h, w)."""
    if image.ndim == 2:
        return image
    channels = image.shape[2]
    if channels == 1:
        return image[:, :, 0]
    codes = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}
    if channels not in codes:
        raise ValueError(f"expected 1, 3 or 4 channels, got shape {image.shape}")
    return np.asarray(cv2.cvtColor(image, codes[channels]), dtype=np.uint8)
