"""Where faces are: the network over every tile, then a nearer look at each place where it saw something.

The near look shows the face centred, at the size that the network sees best. It tells faces from textures, places
the eyes better, and brings what several tiles saw of one face to the same box.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.vision import tiles
from agent.vision.blazeface import BlazeFace, Floats

BORDER: Final = 0.01
"""A box this near to a tile's border, in tile sides, counts as cut by it."""

CLOSE: Final = 0.4
"""Width of the face in the near look, in sides of the picture: recall on test faces is flat from 0.3 to 0.6."""

OTHER_SIZES: Final = (0.25, 0.55)
"""The same in the looks for those that are not sure: a face is one at every size, a texture seldom is."""

SURE: Final = 0.7
"""Mean score of two looks from which on no more are needed."""

UPSIDE_DOWN: Final = 0.1
"""What is surer by more than this when the near look is turned by 180 degrees is upside down: 153 of 170 labelled
faces that were found in such pictures, 2 of 793 in others."""

FIRST_THRESHOLD: Final = 0.25
"""Least score of the first look."""

NEAR_THRESHOLD: Final = 0.05
"""Least score of a near look."""

BODY_WIDTH: Final = 2.5
"""Width of the body under a face, in widths of the face."""

BODY_HEIGHT: Final = 3.0
"""How far under a face's middle its body reaches, in widths of the face: folded hands lie at about 2.5."""

HAT: Final = (1.0, 1.1)
"""Width, and height over a face's middle, of what it wears on its head, in widths of the face."""

SMALLER: Final = 0.75
"""Something on a body or a hat is narrower than this part of its face …"""

UNSURE: Final = 0.65
"""… and scores less than this."""

MOST_CANDIDATES: Final = 256
"""Most places looked at twice, the strongest first: bounds the time that a texture full of "faces" takes."""


def first_look(
    network: BlazeFace, rgb: npt.NDArray[np.uint8], levels: tuple[tiles.Level, ...]
) -> tuple[Floats, Floats]:
    """Return (score, points) of the places where a face may be, the strongest first.

    Parameters
    ----------
    rgb : uint8 array of shape (h, w, 3), RGB, values 0-255
    levels : where to look

    Returns
    -------
    score : float32 array of shape (n,), 0-1
    points : float32 array of shape (n, 4, 2): top left, bottom right, eye, eye, in frame pixels
    """
    found = [_level(network, rgb, level) for level in levels]
    score, points, whole = (np.concatenate(part) for part in zip(*found, strict=True))
    score, points = tiles.merge(score, points, whole)
    strongest = np.argsort(-score, kind="stable")[:MOST_CANDIDATES]
    return score[strongest], points[strongest]


def second_look(network: BlazeFace, rgb: npt.NDArray[np.uint8], score: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Return `first_look`'s places as seen from near: score averaged over all looks, points of the first near one.

    Places where the near look sees no face of about the same size in the middle are dropped. Those that are not
    sure after it are looked at in two more sizes. What is upside down is dropped: expressions would be read wrongly.
    """
    near, where = _near(network, rgb, points, CLOSE)
    seen = near > 0
    near, where = near[seen], where[seen]
    score = np.asarray((score[seen] + near) / 2, np.float32)
    unsure = score < SURE
    more = [_near(network, rgb, where[unsure], size)[0] for size in OTHER_SIZES]
    score[unsure] = (2 * score[unsure] + sum(more)) / 4
    upright = _upright(network, rgb, where, near, unsure)
    return tiles.merge(score[upright], where[upright], np.ones(int(upright.sum()), np.bool_))


def _upright(
    network: BlazeFace, rgb: npt.NDArray[np.uint8], points: Floats, near: Floats, unsure: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return which places are no surer upside down than in their `near` look, bool array of shape (n,).

    A face that is upside down is seldom sure, so that the others cost a look only if most of the unsure ones are: then
    the camera is.
    """
    upright = np.ones(len(points), np.bool_)
    for which in (unsure, ~unsure):
        turned = _near(network, rgb, points[which], CLOSE, turned=True)[0]
        upright[which] = turned <= near[which] + UPSIDE_DOWN
        if 2 * upright[which].sum() >= which.sum():
            break
    return upright


def _near(
    network: BlazeFace, rgb: npt.NDArray[np.uint8], points: Floats, size: float, *, turned: bool = False
) -> tuple[Floats, Floats]:
    """Look at each place alone, its face `size` of the picture wide: (score, points in frame pixels), score 0 if none.

    Counts only a face in the middle, between half and double of the expected width. `turned` by 180 degrees only the
    score has a meaning.
    """
    side, count = network.model.side, len(points)
    centres, reach = points[:, :2].mean(axis=1), (points[:, 1] - points[:, 0]).max(axis=1) / size
    score, where = np.zeros(count, np.float32), points.copy()
    if count == 0:
        return score, where
    pictures = np.stack([_cut(rgb, c, r, side) for c, r in zip(centres, reach, strict=True)])
    if turned:
        pictures = pictures[:, ::-1, ::-1]
    tile, tile_score, found = network(pictures, NEAR_THRESHOLD)
    width = found[:, 1, 0] - found[:, 0, 0]
    off = np.abs(found[:, :2].mean(axis=1) - side / 2).max(axis=1)
    same = (off < side * size / 2) & (width > side * size / 2) & (width < side * size * 2)
    for i in np.unique(tile[same]):
        mine = same & (tile == i)
        best_score, best = tiles.merge(tile_score[mine], found[mine], np.ones(int(mine.sum()), np.bool_))
        score[i] = best_score[0]
        where[i] = (best[0] - side / 2) * (reach[i] / side) + centres[i]
    return score, where


def without_bodies(score: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Return `score` and `points` without what a surer and larger face wears or holds: hands, collars, badges.

    Somebody further away appears smaller too, but above or beside, not on the chest of who sits in front.
    """
    low, high = points[:, 0], points[:, 1]
    centre, width = (low + high) / 2, high[:, 0] - low[:, 0]
    right, down = ((centre[:, np.newaxis] - centre) / width[:, np.newaxis]).transpose(2, 0, 1)
    on_body = (np.abs(right) < BODY_WIDTH / 2) & (down > 0.5) & (down < BODY_HEIGHT)
    on_hat = (np.abs(right) < HAT[0] / 2) & (down < 0) & (down > -HAT[1])
    weaker = (width[:, np.newaxis] < SMALLER * width) & (score[:, np.newaxis] < np.minimum(score, UNSURE))
    alone = ~((on_body | on_hat) & weaker).any(axis=1)
    return score[alone], points[alone]


def _level(
    network: BlazeFace, rgb: npt.NDArray[np.uint8], level: tiles.Level
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return (score, points in frame pixels, whole) of every anchor of a level's tiles above the threshold."""
    side = network.model.side
    scaled = _scaled(rgb, level.scale, side)
    height, width = scaled.shape[:2]
    corners = np.array(level.corners)
    pictures = np.stack([scaled[y : y + side, x : x + side] for x, y in level.corners])
    tile, score, points = network(pictures, FIRST_THRESHOLD)
    # Left, top, right, bottom: which of the tile's borders have picture behind them.
    inner = np.concatenate([corners > 0, corners + side < (width, height)], axis=1)
    whole = _whole(points, inner[tile], side)
    return score, ((points + corners[tile][:, np.newaxis]) / level.scale).astype(np.float32), whole


def _scaled(rgb: npt.NDArray[np.uint8], scale: float, side: int) -> npt.NDArray[np.uint8]:
    """Return the frame at `scale`, padded with black to at least one tile."""
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(rgb, (width, height), interpolation=interpolation)
    down, right = max(0, side - height), max(0, side - width)
    if down or right:
        scaled = cv2.copyMakeBorder(scaled, 0, down, 0, right, cv2.BORDER_CONSTANT)
    return np.asarray(scaled, dtype=np.uint8)


def _cut(rgb: npt.NDArray[np.uint8], centre: Floats, reach: float, side: int) -> npt.NDArray[np.uint8]:
    """Return the square of `reach` pixels around `centre` as uint8 (side, side, 3), black outside the frame."""
    factor = float(reach) / side
    if factor > 2:  # warping would alias: shrink the surroundings by area first
        left, top = (min(max(0, int(c - reach)), n - 1) for c, n in zip(centre, rgb.shape[1::-1], strict=True))
        right, bottom = max(left, int(centre[0] + reach)) + 1, max(top, int(centre[1] + reach)) + 1
        part = rgb[top:bottom, left:right]
        scale = 1 / factor
        if min(part.shape[:2]) * scale < 1:  # less than one pixel of the frame would be seen
            return np.zeros((side, side, 3), np.uint8)
        small = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        return _cut(small, (centre - np.array([left, top], np.float32)) * np.float32(scale), side, side)
    x, y = (float(c) - reach / 2 + factor / 2 - 0.5 for c in centre)
    matrix = np.array([[factor, 0, x], [0, factor, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(rgb, matrix, (side, side), flags=flags), np.uint8)


def _whole(points: Floats, inner: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """Return which boxes keep clear of those tile borders that are not the frame's own, bool array of shape (n,)."""
    room = BORDER * side
    low, high = points[:, 0] < room, points[:, 1] > side - room
    cut = (low & inner[:, :2]) | (high & inner[:, 2:])
    return np.asarray(~cut.any(axis=1))
