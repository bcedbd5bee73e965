"""Frames composed from faces at known places and sizes, and how well boxes match them. Used by tests and benchmarks.

Widths are those of the detector's box, which is 1 / `PICTURE` of a FER2013 picture.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from agent.records import Box
from agent.vision.demo_clip import COLLINS, HOPPER, Portrait, load_portrait

Picture = npt.NDArray[np.uint8]

PICTURE = 1.17
"""Side of a FER2013 picture in widths of the detector's box (median; see EDGE.md)."""


@dataclass(frozen=True)
class Head:
    """A face with what surrounds it."""

    picture: Picture
    """uint8 (h, w, 3) BGR."""
    face: tuple[float, float, float]
    """Centre x, centre y and width of the face, pixels of `picture`."""


@dataclass(frozen=True)
class Scene:
    """A frame and where its faces are."""

    image: Picture
    """uint8 (h, w, 3) BGR."""
    faces: tuple[tuple[float, float, float], ...]
    """Centre x, centre y, width of every face, pixels."""


@functools.cache
def portraits() -> tuple[Head, ...]:
    """Return the two public-domain portraits, head and shoulders, each also mirrored."""
    heads = []
    for portrait, face in ((COLLINS, (223, 114, 85)), (HOPPER, (264, 173, 165))):
        left, top, width, height = portrait.bust
        picture = load_portrait(portrait)[top : top + height, left : left + width]
        x, y, size = face[0] - left, face[1] - top, face[2]
        heads += [Head(picture, (x, y, size)), Head(np.ascontiguousarray(picture[:, ::-1]), (width - x, y, size))]
    return tuple(heads)


def fer_head(face: Picture) -> Head:
    """Return a FER2013 face, uint8 (48, 48) grey, as a head: its whole picture, the face in the middle."""
    side = face.shape[0]
    colour = np.asarray(cv2.cvtColor(face, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    return Head(colour, ((side - 1) / 2, (side - 1) / 2 + 0.08 * side, side / PICTURE))


def cut(head: Head, widths: float) -> Head:
    """Return `head` with a picture of `widths` face widths around its face, less where the picture ends."""
    x, y, width = head.face
    left, top = max(0, round(x - widths * width / 2)), max(0, round(y - widths * width / 2))
    right, bottom = round(x + widths * width / 2), round(y + widths * width / 2)
    return Head(head.picture[top:bottom, left:right], (x - left, y - top, width))


def photograph(name: str) -> Picture:
    """Return one of scikit-image's photographs, 720 px high."""
    image = load_portrait(Portrait("scikit-image", name, (0, 0, 0, 0), 0))
    return np.asarray(cv2.resize(image, None, fx=720 / image.shape[0], fy=720 / image.shape[0]), np.uint8)


def wall(width: int, height: int, rng: np.random.Generator) -> Picture:
    """Return an empty room's picture: soft light, some furniture edges, a little noise; uint8 (h, w, 3) BGR."""
    light = cv2.resize(
        rng.uniform(90, 190, (3, 4, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(25):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        size = (x + int(rng.integers(20, width // 4)), y + int(rng.integers(10, height // 4)))
        cv2.rectangle(light, (x, y), size, rng.uniform(30, 220, 3).tolist(), -1 if rng.random() < 0.5 else 2)
    light = cv2.GaussianBlur(light, (5, 5), 0) + rng.normal(0, 3, light.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def compose(
    heads: Sequence[Head],
    width_px: float,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (1280, 720),
    blur: float = 0.0,
    noise: float = 0.0,
    brightness: float = 1.0,
) -> Scene:
    """Return a frame of `size` (width, height) with every head once, its face `width_px` wide, none overlapping.

    `blur` is a Gaussian's sigma in pixels, `noise` one in grey levels, `brightness` a factor on grey levels.
    """
    image = wall(*size, rng).astype(np.float32)
    scaled = [_scaled(head, width_px / head.face[2]) for head in heads]
    corners = _places([(p.shape[1], p.shape[0]) for p, _ in scaled], size, rng)
    faces = []
    for (picture, (x, y, w)), (left, top) in zip(scaled, corners, strict=True):
        high, wide = picture.shape[:2]
        image[top : top + high, left : left + wide] = picture
        faces.append((left + x, top + y, w))
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image = image * brightness + (rng.normal(0, noise, image.shape) if noise else 0)
    return Scene(np.clip(np.rint(image), 0, 255).astype(np.uint8), tuple(faces))


def clip(
    people: int, width_px: float, frames: int, rng: np.random.Generator, *, hide: bool = True
) -> Iterator[Picture]:
    """Yield 1280x720 frames of a room: heads that sway a little; every third may hide for a third of the time."""
    empty = wall(1280, 720, rng)
    heads = [_scaled(cut(portraits()[i % 4], 2.0), width_px / portraits()[i % 4].face[2])[0] for i in range(people)]
    sizes = [(h.shape[1] + 12, h.shape[0] + 12) for h in heads]
    corners = _places(sizes, (1280, 720), rng) if heads else []
    for frame in range(frames):
        image = empty.copy()
        for i, (head, (left, top)) in enumerate(zip(heads, corners, strict=True)):
            if hide and i % 3 == 0 and (frame + i) % frames < frames // 3:
                continue
            x, y = left + 6 + round(5 * np.sin(frame / 3 + i)), top + 6 + round(3 * np.cos(frame / 2 + i))
            image[y : y + head.shape[0], x : x + head.shape[1]] = head
        noise = rng.integers(-4, 5, image.shape, dtype=np.int16)
        yield np.clip(image + noise, 0, 255).astype(np.uint8)


def video(path: Path) -> Iterator[Picture]:
    """Yield the frames of a video file."""
    source = cv2.VideoCapture(str(path))
    while (got := source.read())[0]:
        yield np.asarray(got[1], dtype=np.uint8)


def _scaled(head: Head, scale: float) -> tuple[Picture, tuple[float, float, float]]:
    high, wide = head.picture.shape[:2]
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    x, y, w = head.face
    return np.asarray(cv2.resize(head.picture, size, interpolation=way), np.uint8), (x * scale, y * scale, w * scale)


def _places(sizes: list[tuple[int, int]], frame: tuple[int, int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return a top left corner for each picture: random cells of a grid, random places within the cells."""
    wide, high = max(s[0] for s in sizes) + 2, max(s[1] for s in sizes) + 2
    columns, rows = frame[0] // wide, frame[1] // high
    if columns * rows < len(sizes):
        raise ValueError(f"expected room for {len(sizes)} pictures of {wide}x{high} in {frame}, got {columns * rows}")
    cells = rng.permutation(columns * rows)[: len(sizes)]
    corners = []
    for cell, (w, h) in zip(cells.tolist(), sizes, strict=True):
        row, column = divmod(cell, columns)
        spare = frame[0] // columns - w, frame[1] // rows - h
        x = column * (frame[0] // columns) + int(rng.integers(spare[0]))
        corners.append((x, row * (frame[1] // rows) + int(rng.integers(spare[1]))))
    return corners


def match(faces: Sequence[tuple[float, float, float]], boxes: Sequence[Box]) -> tuple[int, int]:
    """Return (found, false alarms).

    A face is found by a box whose centre is within half its width and whose width is between half and double. A box
    that finds no face of its own is a false alarm, unless its middle lies in a face's picture (1.17 widths): some
    pictures of FER2013 hold two faces, or a small one far from the middle.
    """
    free = list(boxes)
    found = 0
    for x, y, width in faces:
        for box in free:
            away = np.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y)
            if away <= width / 2 and 0.5 <= box.width / width <= 2:
                free.remove(box)
                found += 1
                break
    false = [b for b in free if not any(_within(b, face) for face in faces)]
    return found, len(false)


def _within(box: Box, face: tuple[float, float, float]) -> bool:
    x, y, width = face
    away = max(abs(box.x + box.width / 2 - x), abs(box.y + box.height / 2 - y))
    return away <= PICTURE * width / 2
