"""Frame → faces: BlazeFace over tiles, one box a face, cut out upright, and checked for quality."""

from types import TracebackType
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from agent import config
from agent.records import Box, Face, Frame
from agent.vision import align, quality, tiles, weights
from agent.vision.blazeface import BlazeFace, Floats
from agent.vision.runtime import choose

BATCH: Final = 8
"""Most tiles given to the network at once: more gains nothing and costs memory (0.4 MB of input a tile)."""

BORDER: Final = 0.01
"""A box this near to a tile's border, in tile sides, counts as cut by it."""


class Detector:
    """Finds, cuts out and judges faces. A context manager, then callable; not for use by two threads at once."""

    def __init__(
        self,
        settings: config.Detect,
        *,
        threads: int,
        runtime: str = "auto",
        model: weights.Model = weights.FULL_RANGE,
        limits: quality.Limits | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._limits = limits or quality.Limits()
        self._network = BlazeFace(model, choose(runtime), threads=threads, threshold=settings.threshold)
        self._shape: tuple[int, int] = (0, 0)
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
        height, width = image.shape[:2]
        if 0 in image.shape:
            return []
        if (height, width) != self._shape:
            self._levels = tiles.layout(width, height, self._settings.smallest_face_px, self._model.side)
            self._shape = (height, width)
        score, points, whole = self._look(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))
        score, points = tiles.merge(score, points, whole)
        return [_box(s, p) for s, p in zip(score.tolist(), points.tolist(), strict=True)]

    def _face(self, grey: npt.NDArray[np.uint8], box: Box) -> Face:
        crop = align.crop(grey, box, self._model.rise)
        return Face(box, crop, quality.rejection(box, crop, self._limits))

    def _look(self, rgb: npt.NDArray[np.uint8]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return (score, points in frame pixels, whole) of every anchor of every tile above the threshold."""
        side = self._model.side
        pictures, scales, corners, inner = [], [], [], []
        for level in self._levels:
            scaled = _scaled(rgb, level.scale, side)
            height, width = scaled.shape[:2]
            for x, y in level.corners:
                pictures.append(scaled[y : y + side, x : x + side])
                scales.append(level.scale)
                corners.append((x, y))
                inner.append((x > 0, y > 0, x + side < width, y + side < height))
        found = [self._batch(pictures[part], part.start) for part in tiles.batches(len(pictures), BATCH)]
        tile = np.concatenate([f[0] for f in found])
        score = np.concatenate([f[1] for f in found])
        points = np.concatenate([f[2] for f in found])
        whole = _whole(points, np.array(inner)[tile], side)
        place = np.array(corners, np.float32)[tile][:, np.newaxis]
        scale = np.array(scales, np.float32)[tile][:, np.newaxis, np.newaxis]
        return score, (points + place) / scale, whole

    def _batch(self, pictures: list[npt.NDArray[np.uint8]], start: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        tile, score, points = self._network(np.stack(pictures))
        return tile + start, score, points


def _scaled(rgb: npt.NDArray[np.uint8], scale: float, side: int) -> npt.NDArray[np.uint8]:
    """Return the frame at `scale`, padded with black to at least one tile."""
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(rgb, (width, height), interpolation=interpolation)
    down, right = max(0, side - height), max(0, side - width)
    if down or right:
        scaled = cv2.copyMakeBorder(scaled, 0, down, 0, right, cv2.BORDER_CONSTANT)
    return np.asarray(scaled, dtype=np.uint8)


def _whole(points: Floats, inner: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """Return which boxes keep clear of those tile borders that are not the frame's own, bool array of shape (n,)."""
    room = BORDER * side
    low, high = points[:, 0] < room, points[:, 1] > side - room
    cut = (low & inner[:, :2]) | (high & inner[:, 2:])
    return np.asarray(~cut.any(axis=1))


def _box(score: float, points: list[list[float]]) -> Box:
    (left, top), (right, bottom), *eyes = points
    first, second = sorted((x, y) for x, y in eyes)
    return Box(left, top, right - left, bottom - top, min(1.0, score), (first, second))
