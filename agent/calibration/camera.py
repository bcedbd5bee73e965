"""Part "camera": what this camera sees of faces. Numbers of crops go in; crops and places are not kept. No IO.

A face of a grown-up is about 14 cm wide; at 48 pixels facial expressions are recognized as well as at any size, at 36
most of the time (Tian 2012). Where this room's own faces are sharper or softer than the default expects, its
own distribution says what is blurred here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.calibration import parts
from agent.errors import CheckFailed
from agent.records import Face, Frame
from agent.vision.quality import Limits, sharpness

FACE_M: Final = 0.14
"""Width of a face, metres."""
GOOD_PX: Final = 48
"""Width from which expressions are read at their best, pixels."""
POOR_PX: Final = 36
"""Width below which a face says little, pixels."""
ASSUMED_FOV: Final = 62.2
"""Horizontal field of view where none is stated: Raspberry Pi Camera Module 2, degrees."""
LEAST_FACES: Final = 30
"""Crops without which nothing is learned of a room."""
DARKEST: Final = 60.0
"""Least mean grey level of the faces, 0-255."""
BRIGHTEST: Final = 200.0
"""Largest mean grey level of the faces."""
MOST_CLIPPED: Final = 0.05
"""Largest share of the faces' pixels that are black or burnt out."""
SHARPNESS: Final = (2.3, 6.5)
"""Bounds of a learned blur threshold: faces blurred to them lose 25 and 7 points of accuracy (`quality`)."""
_SPREADS: Final = 2.5
"""A crop this many robust standard deviations (of the logarithm) below the room's median is blurred here."""


@dataclass
class CameraMeter:
    """Add every frame with its faces, then ask for the result. Single-threaded."""

    widths: list[float] = field(default_factory=list)
    """Of faces, pixels."""
    lumas: list[float] = field(default_factory=list)
    """Mean grey levels of faces."""
    clipped: list[float] = field(default_factory=list)
    """Share of each face's pixels that are 0-2 or 253-255."""
    sharpnesses: list[float] = field(default_factory=list)
    """See `quality.sharpness`."""
    size: tuple[int, int] = (0, 0)
    """Of the newest frame, (width, height), pixels."""
    frames: int = 0

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Take one frame's faces; those that are turned away or too small are counted, and not measured."""
        self.frames += 1
        if frame.image.size:
            self.size = frame.image.shape[1], frame.image.shape[0]
        for face in faces:
            self.widths.append(face.box.width)
            if face.rejected in ("turned", "small"):
                continue
            self.lumas.append(float(face.crop.mean()))
            self.clipped.append(float(np.mean((face.crop <= 2) | (face.crop >= 253))))
            self.sharpnesses.append(sharpness(face.crop))

    def result(self, fov: float | None) -> parts.Camera:
        """Return the part; `fov` is the horizontal field of view in degrees, None where it is not known.

        Raises
        ------
        CheckFailed
            too few faces, or too dark, bright, clipped or small ones; one line with everything that is wrong
        """
        if wrong := list(self._problems()):
            raise CheckFailed("camera: " + "; ".join(wrong))
        low, middle, high = np.percentile(self.widths, (10, 50, 90))
        return parts.Camera(
            width=self.size[0],
            height=self.size[1],
            faces=len(self.lumas),
            # Coarse: there may be one person in view.
            luma=round(float(np.mean(self.lumas))),
            clipped=round(float(np.mean(self.clipped)), 2),
            face_px=(round(low), round(middle), round(high)),
            focal_px=round(focal(self.size[0], ASSUMED_FOV if fov is None else fov), 1),
            fov_stated=fov is not None,
            least_sharpness=round(learned_sharpness(self.sharpnesses), 1),
        )

    def _problems(self) -> list[str]:
        if len(self.lumas) < LEAST_FACES:
            return [
                f"expected at least {LEAST_FACES} faces large enough to be read, got {len(self.lumas)} in "
                f"{self.frames} frames ({len(self.widths)} of any size); record longer, or come nearer"
            ]
        luma, clipped = float(np.mean(self.lumas)), float(np.mean(self.clipped))
        wrong = []
        if not DARKEST <= luma <= BRIGHTEST:
            mend = "more light" if luma < DARKEST else "less light or exposure"
            wrong.append(f"expected faces of mean grey level {DARKEST:g}-{BRIGHTEST:g}, got {luma:.0f}; {mend}")
        if clipped >= MOST_CLIPPED:
            wrong.append(f"expected less than {MOST_CLIPPED:.0%} black or burnt-out pixels in faces, got {clipped:.0%}")
        if (middle := float(np.median(self.widths))) < Limits().least_width:
            wrong.append(
                f"expected half of the faces to be {Limits().least_width:g} px wide or more, the median is "
                f"{middle:.0f} px; come nearer, or raise camera.width"
            )
        return wrong


def focal(width_px: int, fov: float) -> float:
    """Return the focal length in pixels of pictures `width_px` wide that show `fov` degrees across."""
    if not 0 < fov < 180:
        raise ValueError(f"expected a field of view in (0, 180) degrees, got {fov}")
    return width_px / 2 / math.tan(math.radians(fov) / 2)


def metres(focal_px: float, face_px: float) -> float:
    """Return the distance at which a face is `face_px` pixels wide."""
    return focal_px * FACE_M / face_px


def learned_sharpness(found: Sequence[float]) -> float:
    """Return the blur threshold for a room whose crops have these sharpnesses, within `SHARPNESS`."""
    logs = np.log(np.maximum(found, 1e-3))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    return float(np.clip(math.exp(middle - _SPREADS * spread), *SHARPNESS))
