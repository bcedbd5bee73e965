"""The quality gate."""

import cv2
import numpy as np
import pytest

from agent.records import Box
from agent.vision import align, quality
from tests.agent.vision import scenes

EYES = ((10.0, 20.0), (30.0, 20.0))


def face():
    """A sharp, well exposed crop, 48 px: the astronaut's face."""
    head = scenes.portraits()[0]
    x, y, width = head.face
    grey = cv2.cvtColor(head.picture, cv2.COLOR_BGR2GRAY)
    crop = align.crop(grey, Box(x - width / 2, y - width / 2, width, width), 0.08)
    return cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA)


def judged(crop, **box):
    return quality.rejection(
        Box(**({"x": 0, "y": 0, "width": 44, "height": 44, "eyes": EYES} | box)), crop, quality.Limits()
    )


def stripes(dark, bright, side=48):
    """Columns of two grey levels in turn: as sharp as a picture can be, and of a known mean."""
    return np.tile(np.array([dark, bright], np.uint8), (side, side // 2))


def grating(period, side=48):
    """Soft stripes, one every `period` pixels."""
    wave = np.rint(128 + 100 * np.cos(2 * np.pi * np.arange(side) / period))
    return np.tile(wave.astype(np.uint8), (side, 1))


def eyes_at(degrees, apart=20.0):
    """Return two eyes, `apart` pixels from each other, on a line that is tilted so."""
    x, y = apart * np.cos(np.radians(degrees)), apart * np.sin(np.radians(degrees))
    return ((10.0, 22.0), (10.0 + x, 22.0 + y))


def test_a_good_face_passes():
    """A sharp, well exposed, frontal face of 44 px is accepted."""
    assert judged(face()) is None


@pytest.mark.parametrize(
    ("reason", "crop", "box"),
    [
        ("small", face(), {"width": 12.0, "height": 12.0}),
        ("dark", face() // 8, {}),
        ("bright", np.clip(face().astype(int) + 150, 0, 255).astype(np.uint8), {}),
        ("blurred", cv2.GaussianBlur(face(), (0, 0), 3), {}),
        ("turned", face(), {"eyes": ((10.0, 20.0), (14.0, 20.0))}),
        ("turned", face(), {"eyes": ((10.0, 20.0), (14.0, 45.0))}),
    ],
)
def test_each_reason(reason, crop, box):
    """Small, dark, bright, blurred and turned faces are refused with that reason."""
    assert judged(crop, **box) == reason


@pytest.mark.parametrize(
    ("reason", "within", "beyond"),
    [
        ("small", {"width": 22.0}, {"width": 21.9}),
        ("dark", {"crop": stripes(0, 70)}, {"crop": stripes(0, 69)}),
        ("bright", {"crop": stripes(175, 255)}, {"crop": stripes(176, 255)}),
        ("blurred", {"crop": grating(13)}, {"crop": grating(15)}),
        ("turned", {"eyes": eyes_at(0, 11.0)}, {"eyes": eyes_at(0, 10.9)}),
        ("turned", {"eyes": eyes_at(59.9)}, {"eyes": eyes_at(60.1)}),
        ("turned", {"eyes": eyes_at(-59.9)}, {"eyes": eyes_at(-60.1)}),
        ("turned", {"eyes": eyes_at(59, 11.5)}, {"eyes": eyes_at(59, 10.5)}),
    ],
)
def test_a_face_at_the_limit_passes(reason, within, beyond):
    """What a limit names is still good enough; a little beyond it, the face is refused for that reason."""
    assert judged(**({"crop": face()} | within)) is None
    assert judged(**({"crop": face()} | beyond)) == reason


def test_without_eyes_nobody_is_called_turned():
    """A detector that gives no eyes says nothing of the pose."""
    assert judged(face(), eyes=None) is None


@pytest.mark.parametrize(("side", "sharpness"), [(48, 1600), (24, 200), (36, 675)])
def test_sharpness_is_the_formula(side, sharpness):
    """Stripes of one pixel: 16 times their own variance in the Laplacian, times the cube of side / 48, in percent."""
    assert quality.sharpness(stripes(60, 200, side)) == pytest.approx(sharpness)


def test_a_large_crop_is_judged_at_the_networks_detail():
    """Above 48 px a crop is as sharp as what is left of it at 48."""
    large = cv2.resize(face(), (120, 120), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA)
    assert quality.sharpness(large) == quality.sharpness(small)


def test_a_dim_face_is_not_called_blurred():
    """Half the light leaves the sharpness as it was."""
    assert quality.sharpness(face() // 2) == pytest.approx(quality.sharpness(face()), rel=0.1)


def test_a_flat_crop_has_no_sharpness():
    """A crop without any contrast has sharpness 0, not NaN."""
    assert quality.sharpness(np.full((48, 48), 128, np.uint8)) == 0


def test_blur_lowers_the_sharpness_of_real_faces(labelled):
    """Nine in ten test faces blurred by 2/48 of the crop are refused, and 97 in 100 of the originals are not."""
    limit = quality.Limits().least_sharpness
    faces = labelled[0]
    assert np.mean([quality.sharpness(f) >= limit for f in faces]) >= 0.97
    assert np.mean([quality.sharpness(cv2.GaussianBlur(f, (0, 0), 2)) < limit for f in faces]) >= 0.9
