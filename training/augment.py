"""Random changes to a face, drawn from a generator that is given: the same seed gives the same faces."""

import cv2
import numpy as np
import numpy.typing as npt

from training.config import Augment


def augment(face: npt.NDArray[np.uint8], how: Augment, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a changed copy of `face`, uint8 (h, w), values 0-255.

    Always draws the same number of random values, so that one option does not shift another's.
    """
    draw = rng.uniform(-1, 1, size=6)
    coin = rng.random(2)
    box = rng.random(5)
    height, width = face.shape
    if how.rotate or how.scale or how.shift:
        matrix = cv2.getRotationMatrix2D(
            ((width - 1) / 2, (height - 1) / 2), how.rotate * draw[0], 1 + how.scale * draw[1]
        )
        matrix[:, 2] += how.shift * draw[2] * width, how.shift * draw[3] * height
        # Repeating the border invents no dark corners, which a network would learn to see.
        face = cv2.warpAffine(face, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if how.flip and coin[0] < 0.5:
        face = face[:, ::-1]
    if how.contrast or how.brightness:
        grey = face.astype(np.float32)
        mean = grey.mean()
        grey = (grey - mean) * (1 + how.contrast * draw[4]) + mean + how.brightness * draw[5]
        face = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if coin[1] < how.erase:
        face = _erase(face, box)
    return np.ascontiguousarray(face)


def _erase(face: npt.NDArray[np.uint8], box: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return `face` with one rectangle of 2-20 % of its area in one grey level (Zhong et al. 2020)."""
    height, width = face.shape
    area = (0.02 + 0.18 * box[0]) * height * width
    ratio = 0.3 * (1 / 0.3) ** (2 * box[1])  # 0.3 to 3.3, symmetric in its logarithm
    h, w = min(height, round((area * ratio) ** 0.5)), min(width, round((area / ratio) ** 0.5))
    top, left = int(box[2] * (height - h + 1)), int(box[3] * (width - w + 1))
    changed = face.copy()
    changed[top : top + h, left : left + w] = int(box[4] * 256)
    return changed
