"""A camera's pictures: brought to BGR, and judged: black, overexposed, covered, frozen. No IO, no clock."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

BLACK: Final = "camera.black"
OVEREXPOSED: Final = "camera.overexposed"
COVERED: Final = "camera.covered"
FROZEN: Final = "camera.frozen"
ABSENT: Final = "camera.absent"
"""The camera cannot be opened."""
STALLED: Final = "camera.stalled"
"""The camera is open and sends nothing."""

_SMALL: Final = (64, 36)
"""Size at which a picture is judged (w, h), pixels: sensor noise is averaged away, edges of things stay."""
_STEP: Final = 4
"""Every so manyth row and column is compared for a frozen picture."""
_BLACK_P99: Final = 24.0
"""Grey level that 99 % of a black picture stay below."""
_WHITE: Final = 250.0
_WHITE_SHARE: Final = 0.7
"""Share of burnt-out pixels that makes a picture useless."""
_DETAIL: Final = 0.35
"""95th percentile of |Laplacian| at `_SMALL`, over the mean grey level, below which nothing has an edge.

Measured: classroom clips 0.50-1.1, also at a quarter of their light and with sensor noise of 8 grey levels; the
same clips behind a blur of an eighth to a twentieth of their width, tape and a leaking hand 0.02-0.25.
"""
_DARK: Final = 10.0
"""Grey level that counts as the mean of anything darker, so that noise is not taken for detail."""
_TO_BGR: Final = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
"""OpenCV's conversion by number of channels."""


class PictureJudge:
    """Add pictures in order; each answer is a reason code or None. Single-threaded."""

    def __init__(self, frozen_after_s: float) -> None:
        self._frozen_after_s = frozen_after_s
        self._last: npt.NDArray[np.uint8] | None = None
        self._since = 0.0

    def add(self, image: npt.NDArray[np.uint8], at: float) -> str | None:
        """Return what is wrong with `image` (uint8 (h, w, 3) BGR), taken at `at` seconds, or None."""
        frozen = self._frozen(image, at)
        return exposure(image) or (FROZEN if frozen else None)

    def reset(self) -> None:
        """Forget the last picture: the camera was opened anew."""
        self._last = None

    def _frozen(self, image: npt.NDArray[np.uint8], at: float) -> bool:
        """Say whether the picture has been the same, bit by bit, for too long: a live sensor always has noise."""
        thin = image[::_STEP, ::_STEP].copy()
        if self._last is None or not np.array_equal(self._last, thin):
            self._last, self._since = thin, at
        return at - self._since >= self._frozen_after_s


def bgr(image: object) -> npt.NDArray[np.uint8] | None:
    """Return what a driver gave as uint8 (h, w, 3) BGR: grey (h, w) or (h, w, 1) and BGRA are converted.

    None where it is no picture: empty, another type of number, or another number of channels.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        return None
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels == 3:
        return image
    if channels not in _TO_BGR:
        return None
    return np.asarray(cv2.cvtColor(image, _TO_BGR[channels]), dtype=np.uint8)


def exposure(image: npt.NDArray[np.uint8]) -> str | None:
    """Return the reason why nothing can be seen in `image` (uint8 (h, w, 3) BGR), or None."""
    grey = cv2.cvtColor(cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY).astype(np.float32)
    if float(np.percentile(grey, 99)) < _BLACK_P99:
        return BLACK
    if float(np.mean(grey >= _WHITE)) > _WHITE_SHARE:
        return OVEREXPOSED
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1])
    detail = float(np.percentile(laplacian, 95)) / max(float(grey.mean()), _DARK)
    return COVERED if detail < _DETAIL else None
