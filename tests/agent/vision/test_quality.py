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
