"""Frame → faces: found, cut out upright, and judged. How they are found: `search`; what is good enough: `quality`."""

from types import TracebackType
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from agent import config
from agent.records import Box, Face, Frame
from agent.vision import align, quality, search, tiles, weights
from agent.vision.blazeface import BlazeFace
from agent.vision.runtime import choose

TOO_SMALL: Final = 0.75
"""A box narrower than this part of the smallest face that is searched for is no face."""


class Detector:
    """Finds, cuts out and judges faces. A context manager, then callable; not for use by two threads at once."""

    def __init__(
        self,
        settings: config.Detect,
        *,
        threads: int,
        runtime: str = "auto",
        limits: quality.Limits | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits or quality.Limits()
        self._network = BlazeFace(weights.SHORT_RANGE, choose(runtime), threads=threads)
        self._shape: tuple[int, int] = (0, 0)
        self._smallest = 0.0
        self._levels: tuple[tiles.Level, ...] = ()

    def __enter__(self) -> Self:
        self._network.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._network.__exit__(kind, error, trace)

    def __call__(self, frame: Frame) -> list[Face]:
        """Return the faces in `frame`, the strongest first; none where the frame has no pixel."""
        boxes = self.boxes(frame.image)
        if not boxes:
            return []
        grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        return [self._face(grey, box) for box in boxes]

    def boxes(self, image: npt.NDArray[np.uint8]) -> list[Box]:
        """Return where the faces are in `image`, uint8 (h, w, 3) BGR 0-255; the strongest first."""
        height, width, _ = image.shape
        if 0 in image.shape:
            return []
        if (height, width) != self._shape:
            self._smallest = tiles.smallest_face(width, height, self._settings.smallest_face_px)
            self._levels = tiles.layout(width, height, self._smallest, self._network.model)
            self._shape = (height, width)
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        score, points = search.first_look(self._network, rgb, self._levels)
        score, points = search.second_look(self._network, rgb, score, points)
        score, points = search.without_bodies(score, points)
        wide_enough = points[:, 1, 0] - points[:, 0, 0] >= TOO_SMALL * self._smallest
        sure = (score >= self._settings.threshold) & wide_enough
        return [_box(s, p) for s, p in zip(score[sure].tolist(), points[sure].tolist(), strict=True)]

    def _face(self, grey: npt.NDArray[np.uint8], box: Box) -> Face:
        crop = align.crop(grey, box, self._network.model.rise)
        return Face(box, crop, quality.rejection(box, crop, self._limits))


def _box(score: float, points: list[list[float]]) -> Box:
    (left, top), (right, bottom), *eyes = points
    first, second = sorted((x, y) for x, y in eyes)
    return Box(left, top, right - left, bottom - top, score, (first, second))
