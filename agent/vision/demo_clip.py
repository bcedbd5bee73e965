"""A classroom made of two public-domain portraits, for the demo and for tests without a camera.

The portraits come in wheels: NASA's portrait of Eileen Collins in scikit-image, the US Navy's portrait of Grace
Hopper in matplotlib. Only their files are read; neither package is imported.
"""

import importlib.metadata
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.errors import CannotWriteError, ConfigError

WIDTH: Final = 1280
HEIGHT: Final = 720
FPS: Final = 10
"""Frames a second of the clip."""


@dataclass(frozen=True)
class Portrait:
    """A head and shoulders in a file of another package."""

    package: str
    file: str
    bust: tuple[int, int, int, int]
    """Left, top, width, height in the file, pixels."""
    face_px: int
    """Width of the face in the file, pixels."""


COLLINS: Final = Portrait("scikit-image", "astronaut.png", (96, 0, 260, 260), 92)
HOPPER: Final = Portrait("matplotlib", "grace_hopper.jpg", (80, 0, 384, 384), 180)


@dataclass(frozen=True)
class Seat:
    """Somebody in the demo's classroom."""

    who: Portrait
    x: int
    """Middle of the bust, pixels."""
    y: int
    """Middle of the bust, pixels."""
    face_px: int
    """Width of the face, pixels."""
    mirrored: bool = False
    away: tuple[float, float] | None = None
    """Hidden between these seconds of the clip."""


SEATS: Final = (
    Seat(COLLINS, 170, 190, 44),
    Seat(HOPPER, 400, 170, 48),
    Seat(COLLINS, 640, 180, 52, mirrored=True),
    Seat(HOPPER, 890, 170, 46, mirrored=True),
    Seat(COLLINS, 1110, 190, 48),
    Seat(HOPPER, 260, 500, 96),
    Seat(COLLINS, 640, 500, 88, away=(6.0, 9.0)),
    Seat(HOPPER, 1020, 500, 104, mirrored=True),
)


def frames(seconds: float, fps: float = FPS) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the clip, uint8 (720, 1280, 3) BGR at `fps` frames a second. It loops without a jump every 20 s.

    Raises
    ------
    ConfigError
        a portrait's package is not installed
    """
    busts = [_bust(seat) for seat in SEATS]
    wall = np.linspace(176, 128, HEIGHT)[:, np.newaxis, np.newaxis] * np.array([0.96, 1.0, 1.02])
    background = np.repeat(wall, WIDTH, axis=1).astype(np.uint8)
    for number in range(round(seconds * fps)):
        at = number / fps
        picture = background.copy()
        for index, (seat, bust) in enumerate(zip(SEATS, busts, strict=True)):
            if seat.away is None or not seat.away[0] <= at % 20 < seat.away[1]:
                turn = 2 * math.pi * (at / 20 * (1 + index % 3) + index / len(SEATS))
                _paste(picture, bust, seat.x + 8 * math.sin(turn), seat.y + 4 * math.cos(turn))
        yield picture


def write(path: Path, seconds: float = 20.0) -> Path:
    """Write the clip to `path` (.avi, Motion JPEG) and return it.

    Raises
    ------
    CannotWriteError
        the file cannot be written
    """
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    if not video.isOpened():
        raise CannotWriteError(f"{path}: cannot write the demo's clip there")
    try:
        for picture in frames(seconds):
            video.write(picture)
    finally:
        video.release()
    return path


def _bust(seat: Seat) -> npt.NDArray[np.float32]:
    """Return the seat's person as float32 (h, w, 4): BGR 0-255 and opacity 0-1, soft at the border."""
    left, top, width, height = seat.who.bust
    bust = load_portrait(seat.who)[top : top + height, left : left + width]
    scale = seat.face_px / seat.who.face_px
    size = (round(width * scale), round(height * scale))
    bust = np.asarray(cv2.resize(bust, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if seat.mirrored:
        bust = bust[:, ::-1]
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    opacity = np.clip((1 - np.maximum(np.abs(x), np.abs(y)) ** 4) * 4, 0, 1)
    return np.dstack([bust.astype(np.float32), opacity.astype(np.float32)])


def load_portrait(portrait: Portrait) -> npt.NDArray[np.uint8]:
    """Return the whole portrait, uint8 (h, w, 3) BGR 0-255.

    Raises
    ------
    ConfigError
        its package is not installed
    """
    try:
        found = [f for f in importlib.metadata.files(portrait.package) or () if f.name == portrait.file]
    except importlib.metadata.PackageNotFoundError:
        found = []
    image = _decode(Path(str(found[0].locate())).read_bytes()) if found else None
    if image is None:
        raise ConfigError(
            f"the demo's clip needs {portrait.file} of the package {portrait.package}: "
            f"run scripts/demo, or pip install --no-deps {portrait.package}"
        )
    return image


def _decode(file: bytes) -> npt.NDArray[np.uint8] | None:
    """Return the picture without its PNG colour profile: libpng complains of NASA's on stderr."""
    start = file.find(b"iCCP")
    if file.startswith(b"\x89PNG") and start > 0:
        length = int.from_bytes(file[start - 4 : start])
        file = file[: start - 4] + file[start + 4 + length + 4 :]
    image = cv2.imdecode(np.frombuffer(file, dtype=np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, dtype=np.uint8)


def _paste(picture: npt.NDArray[np.uint8], bust: npt.NDArray[np.float32], x: float, y: float) -> None:
    """Blend `bust` into `picture` with its middle at (x, y), to a fraction of a pixel."""
    height, width = bust.shape[:2]
    left, top = x - width / 2, y - height / 2
    column, row = math.floor(left), math.floor(top)
    shift = np.array([[1, 0, left - column], [0, 1, top - row]], dtype=np.float32)
    moved = cv2.warpAffine(bust, shift, (width + 1, height + 1))
    target = picture[row : row + height + 1, column : column + width + 1]
    opacity = moved[:, :, 3:]
    target[:] = np.rint(target + opacity * (moved[:, :, :3] - target)).astype(np.uint8)
