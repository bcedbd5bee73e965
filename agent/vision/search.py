"""Where faces may be: the network over every tile, then a second, closer look at each place where it saw something.

The second look shows the face at the one size that the network sees best, centred. It tells faces from textures,
places the eyes better, and brings what several tiles saw of one face to the same box.
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
"""Width of the face in the second look, in sides of the picture: recall on test faces is flat from 0.3 to 0.6."""

BODY_WIDTH: Final = 2.5
"""Width of the body under a face, in widths of the face."""

BODY_HEIGHT: Final = 3.0
"""How far under a face's middle its body reaches, in widths of the face: folded hands lie at about 2.5."""

SMALLER: Final = 0.85
"""Something on a body is narrower than this part of its face …"""

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
    """Return `first_look`'s places as seen from near: score averaged over both looks, points of the second.

    Places where the second look sees no face of about the same size in the middle are dropped.
    """
    side = network.model.side
    centres, sizes = points[:, :2].mean(axis=1), (points[:, 1] - points[:, 0]).max(axis=1)
    reach = sizes / CLOSE
    pictures = [_cut(rgb, c, r, side) for c, r in zip(centres, reach, strict=True)]
    tile, near_score, near = (
        network(np.stack(pictures)) if pictures else network(np.empty((0, side, side, 3), np.uint8))
    )
    width = near[:, 1, 0] - near[:, 0, 0]
    off = np.abs(near[:, :2].mean(axis=1) - side / 2).max(axis=1)
    same = (off < side * CLOSE / 2) & (width > side * CLOSE / 2) & (width < side * CLOSE * 2)
    scores, places = [np.empty(0, np.float32)], [np.empty((0, 4, 2), np.float32)]
    for i in np.unique(tile[same]):
        mine = same & (tile == i)
        best_score, best = tiles.merge(near_score[mine], near[mine], np.ones(int(mine.sum()), np.bool_))
        scores.append((best_score[:1] + score[i]) / 2)
        places.append((best[:1] - side / 2) * (reach[i] / side) + centres[i])
    both, where = np.concatenate(scores), np.concatenate(places).astype(np.float32)
    return tiles.merge(both, where, np.ones(len(both), np.bool_))


def without_bodies(score: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Return `score` and `points` without what lies on the body of a surer and larger face: hands, collars, badges.

    Somebody further away appears smaller too, but above or beside, not on the chest of who sits in front.
    """
    low, high = points[:, 0], points[:, 1]
    centre, width = (low + high) / 2, high[:, 0] - low[:, 0]
    right, down = ((centre[:, np.newaxis] - centre) / width[:, np.newaxis]).transpose(2, 0, 1)
    on_body = (np.abs(right) < BODY_WIDTH / 2) & (down > 0.5) & (down < BODY_HEIGHT)
    weaker = (width[:, np.newaxis] < SMALLER * width) & (score[:, np.newaxis] < np.minimum(score, UNSURE))
    alone = ~(on_body & weaker).any(axis=1)
    return score[alone], points[alone]


def _level(
    network: BlazeFace, rgb: npt.NDArray[np.uint8], level: tiles.Level
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return (score, points in frame pixels, whole) of every anchor of a level's tiles above the threshold."""
    side = network.model.side
    scaled = _scaled(rgb, level.scale, side)
    height, width = scaled.shape[:2]
    corners = np.array(level.corners)
    tile, score, points = network(np.stack([scaled[y : y + side, x : x + side] for x, y in level.corners]))
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
        left, top = (max(0, int(c - reach)) for c in centre)
        right, bottom = (int(c + reach) + 1 for c in centre)
        part = rgb[top:bottom, left:right]
        scale = 1 / factor
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
