"""Where to look: overlapping square tiles at growing sizes, and the whole frame; then one box a face. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.vision.weights import Model

OVERLAP: Final = 0.25
"""Least overlap of two neighbours, in tile sides: a face up to this size is whole in one of them."""

GROWTH: Final = 2.2
"""A level's tile side over the one below."""

MAX_TILES: Final = 400
"""Most tiles a frame, all levels: bounds time and memory on a frame of any size. 1920x1080 at 24 px needs 330; larger
frames are searched for larger faces, 2560x1440 from 29 px, 3840x2160 from 47 px."""

REFERENCE_WIDTH: Final = 1280
"""Frames narrower than this are searched for faces smaller in proportion: it costs no more."""

LEAST_FACE: Final = 14.0
"""Smallest face that is ever searched for, pixels: below it the tile is enlarged, not shrunk."""


@dataclass(frozen=True, slots=True)
class Level:
    """One size of tiles over the whole frame."""

    scale: float
    """Input pixels per frame pixel."""
    corners: tuple[tuple[int, int], ...]
    """Top left (x, y) of every tile in the scaled frame, pixels."""


def smallest_face(width: int, height: int, wanted: float) -> float:
    """Return the smallest face to search for in a frame of this size, pixels; `wanted` is for `REFERENCE_WIDTH`."""
    return max(LEAST_FACE, wanted * min(1.0, max(width, height) / REFERENCE_WIDTH))


def layout(width: int, height: int, smallest: float, model: Model) -> tuple[Level, ...]:
    """Return the levels that find faces from `smallest` pixels wide up to the frame's size.

    Parameters
    ----------
    width, height : of the frame, pixels
    smallest : width of the smallest face, pixels; more where `MAX_TILES` would not do
    model : the network that looks at the tiles
    """
    tile = model.tile_per_face * smallest
    while True:
        levels = _levels(width, height, tile, model.side)
        if sum(len(level.corners) for level in levels) <= MAX_TILES:
            return levels
        tile *= 1.1


def _levels(width: int, height: int, start: float, side: int) -> tuple[Level, ...]:
    longest = max(width, height)
    levels = []
    tile = start
    while tile < longest * 0.8:
        levels.append(_level(width, height, side / tile, side))
        tile *= GROWTH
    levels.append(_level(width, height, side / longest, side))
    return tuple(levels)


def _level(width: int, height: int, scale: float, side: int) -> Level:
    xs = _starts(max(1, round(width * scale)), side)
    ys = _starts(max(1, round(height * scale)), side)
    return Level(scale, tuple((x, y) for y in ys for x in xs))


def _starts(length: int, side: int) -> list[int]:
    """Return evenly spread starts of tiles that cover `length` with at least `OVERLAP`."""
    if length <= side:
        return [0]
    count = math.ceil((length - OVERLAP * side) / ((1 - OVERLAP) * side))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def merge(
    score: npt.NDArray[np.float32], points: npt.NDArray[np.float32], whole: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return one (score, points) a face: greedy non-maximum suppression, the winner averaged with its like.

    Parameters
    ----------
    score : float32 array of shape (n,), 0-1
    points : float32 array of shape (n, k, 2), the first two top left and bottom right, frame pixels
    whole : bool array of shape (n,), False where the box is cut by a tile's border: it never beats a whole one
    """
    order = np.lexsort((-score, ~whole))
    score, points = score[order], points[order]
    kept_scores, kept_points = [], []
    while len(score):
        overlap, inside = _overlaps(points)
        like = overlap > SAME_IOU
        like[0] = True
        kept_scores.append(score[0])
        kept_points.append(np.average(points[like], axis=0, weights=score[like]))
        rest = ~(like | (inside > SAME_INSIDE))
        score, points = score[rest], points[rest]
    if not kept_scores:
        return score, points
    return np.array(kept_scores, np.float32), np.stack(kept_points).astype(np.float32)


SAME_IOU: Final = 0.4
"""Overlap over union above which two boxes are one face, and are averaged."""

SAME_INSIDE: Final = 0.6
"""Overlap over the smaller box above which the weaker one is a piece of the stronger."""


def _overlaps(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return intersection over union and over the smaller box, of the first box with every one."""
    low = np.maximum(points[:, 0], points[0, 0])
    high = np.minimum(points[:, 1], points[0, 1])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(points[:, 1] - points[:, 0], axis=1)
    return common / (area + area[0] - common), common / np.minimum(area, area[0])


def batches(count: int, most: int) -> Sequence[slice]:
    """Return slices of equal length (the last may reach over the end) that cover `count` with at most `most` each."""
    if count == 0:
        return []
    size = math.ceil(count / math.ceil(count / most))
    return [slice(i, i + size) for i in range(0, count, size)]
