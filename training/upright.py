"""A second look at a face of FER2013: eyes level, and as large and as central as the agent's detector sees it.

These squares are tilted, and off centre by a tenth of their side. A network errs otherwise on the same face once that
is undone, so that the mean of both looks is better than either.
"""

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.vision import align, runtime, tiles, weights
from agent.vision.blazeface import BlazeFace

Faces = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BORDER: Final = 17
"""Pixels repeated around a face of 48 for the detector: it then is 0.5 of the picture wide, see `search.CLOSE`."""
BOX_SHARE: Final = 0.877
"""Width of the detector's box in sides of a FER2013 face: the median of 3,579 validation faces."""
EYES_RISE: Final = 5 / 48
"""How far the eyes lie above the middle of a FER2013 face, in its sides: the median of the same."""
LEAST_SCORE: Final = 0.05
"""Of the detector, 0-1: where every picture is of a face, a weak answer is still the best place."""
_AT_ONCE: Final = 512


def turned(faces: Faces) -> Faces:
    """Return `faces`, uint8 (n, s, s) grey 0-255, upright; one in which no face is seen stays as it is.

    What lies outside the face's picture repeats its border.
    """
    upright = faces.copy()
    with BlazeFace(weights.SHORT_RANGE, runtime.choose(), threads=2) as network:
        for start in range(0, len(faces), _AT_ONCE):
            part = faces[start : start + _AT_ONCE]
            for i, points in _found(network, part).items():
                upright[start + i] = _cut(part[i], points)
    return upright


def _found(network: BlazeFace, faces: Faces) -> dict[int, Floats]:
    """Return number of a face → its best place, (4, 2): top left, bottom right, eye, eye, in its pixels."""
    side = network.model.side
    scale = side / (faces.shape[1] + 2 * BORDER)
    framed = (cv2.copyMakeBorder(face, *4 * (BORDER,), cv2.BORDER_REPLICATE) for face in faces)
    enlarged = (cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR) for face in framed)
    pictures = np.stack([cv2.cvtColor(face, cv2.COLOR_GRAY2RGB) for face in enlarged])
    number, score, points = network(np.asarray(pictures, np.uint8), LEAST_SCORE)
    best = {}
    for i in np.unique(number).tolist():
        mine = number == i
        scores, places = tiles.merge(score[mine], points[mine], np.ones(int(mine.sum()), np.bool_))
        best[i] = places[scores.argmax()].astype(np.float64) / scale - BORDER
    return best


def _cut(face: Faces, points: Floats) -> Faces:
    """Return the upright square around a place in `face`, as large as that is."""
    low, high, *eyes = points
    (x0, y0), (x1, y1) = sorted(map(tuple, eyes))
    angle, side = math.atan2(y1 - y0, x1 - x0), (high[0] - low[0]) / BOX_SHARE
    return align.square(face, ((x0 + x1) / 2, (y0 + y1) / 2), -EYES_RISE, side, angle, len(face))
