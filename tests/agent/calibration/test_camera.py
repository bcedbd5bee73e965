"""Camera part: what is measured of faces, and rooms whose pictures are too poor to calibrate on."""

import math

import cv2
import numpy as np
import pytest

from agent.calibration import camera
from agent.errors import CheckFailed
from agent.records import Box, Face, Frame

PICTURE = np.zeros((720, 1280, 3), np.uint8)


def _crop(luma: float = 120, blur: float = 0.5, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 60, (48, 48))
    soft = cv2.GaussianBlur(noise, (0, 0), blur)
    return np.clip(luma + soft, 0, 255).astype(np.uint8)


def _measured(faces: int = 40, width: float = 60, **crop) -> camera.CameraMeter:
    meter = camera.CameraMeter()
    for number in range(faces):
        box = Box(100, 100, width + number % 5, width)
        meter.add(Frame(PICTURE, number), [Face(box, _crop(seed=number, **crop))])
    return meter


def test_the_part_holds_what_was_seen() -> None:
    """Size of the frames, widths and grey level of faces, and the focal length of the stated field of view."""
    part = _measured().result(fov=90)
    assert (part.width, part.height, part.faces, part.fov_stated) == (1280, 720, 40, True)
    assert part.face_px == pytest.approx((60, 62, 64), abs=0.5)
    assert part.luma == pytest.approx(120, abs=3)
    assert part.focal_px == pytest.approx(640)


def test_range_of_a_known_camera() -> None:
    """1280 px across 62.2 degrees: a face of 14 cm is 48 px wide at 3.1 m and 36 px at 4.1 m."""
    focal = camera.focal(1280, 62.2)
    assert camera.metres(focal, 48) == pytest.approx(3.09, abs=0.01)
    assert camera.metres(focal, 36) == pytest.approx(4.13, abs=0.01)


@pytest.mark.parametrize(
    ("room", "says"),
    [
        ({"faces": 29}, "at least 30 faces"),
        ({"faces": 0}, "at least 30 faces"),
        ({"luma": 40}, "grey level 60-200, got 4.; more light"),
        ({"luma": 225}, "grey level 60-200, got 2[12].; less light"),
        ({"luma": 240, "blur": 0.1}, "burnt-out pixels"),
        ({"width": 15}, "median is 17 px; come nearer"),
    ],
)
def test_a_poor_room_is_refused(room: dict, says: str) -> None:
    """Too few, dark, bright, clipped or small faces are refused in one line that says what would help."""
    with pytest.raises(CheckFailed, match=says) as error:
        _measured(**room).result(fov=None)
    assert "\n" not in str(error.value)


def test_an_even_room_gets_a_threshold_just_below_its_own_faces() -> None:
    """Crops of sharpness about 5 give a threshold below all of them but the outliers."""
    found = 5 * np.exp(np.random.default_rng(0).normal(0, 0.1, 500))
    assert np.mean(found < camera.learned_sharpness([*found, 0.2, 0.3])) < 0.02


@pytest.mark.parametrize(("level", "bound"), [(0.5, 2.3), (500, 6.5), (0, 2.3)])
def test_a_threshold_stays_within_what_was_measured(level: float, bound: float) -> None:
    """However soft or sharp the room, the threshold stays where its cost in accuracy is known."""
    assert camera.learned_sharpness([level] * 50) == bound


def test_a_picture_without_pixels_changes_nothing() -> None:
    """A frame that the camera did not give leaves the size of the last good one."""
    meter = _measured()
    meter.add(Frame(np.zeros((0, 0, 3), np.uint8), 99, "camera.absent"), [])
    assert meter.result(None).width == 1280


@pytest.mark.parametrize("fov", [0, 180, -5, math.nan])
def test_an_impossible_field_of_view_is_refused(fov: float) -> None:
    """0, 180 and NaN degrees have no focal length."""
    with pytest.raises(ValueError, match="field of view"):
        camera.focal(1280, fov)
