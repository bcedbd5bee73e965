"""One preprocess for training, quantization and device; what it returns is fixed for a version."""

import hashlib

import cv2
import numpy as np
import pytest

from agent.vision.preprocess import DETAIL, preprocess, version

pytestmark = pytest.mark.wheel

GOLDEN = {
    "grey-area-linear/1": {
        48: "7792c1b1c37b3c35",
        64: "04573f70e829d34e",
        96: "7c79efd6e4242a3f",
    },
    "grey-area-linear/2": {
        64: "967d0b013a4293d4",
        96: "0b0c164448852998",
    },
}
"""Version → side → start of the SHA-256 of what `preprocess` returns for `face()`. Never change an entry: add one."""


def face() -> np.ndarray:
    """A picture with edges, slopes and noise, uint8 (75, 80, 3) BGR; made of integers, the same everywhere."""
    y, x = np.mgrid[0:75, 0:80]
    grey = (x * 3 + y * 2) % 256
    noise = (x * 7919 + y * 104_729) % 61
    return np.dstack([grey, (grey + noise) % 256, 255 - grey]).astype(np.uint8)


@pytest.mark.parametrize("side", [48, 64, 96])
def test_output_is_that_of_its_version(side: int) -> None:
    """The bytes for a fixed picture are those of this version: changed output needs a new one."""
    assert hashlib.sha256(preprocess(face(), side).tobytes()).hexdigest()[:16] == GOLDEN[version(side)][side]


@pytest.mark.parametrize("side", [64, 112])
def test_a_large_input_gets_no_finer_detail_than_training_had(side: int) -> None:
    """A sharp face of 75 x 80 comes out as the data set would have it: 48 pixels, enlarged."""
    coarse = preprocess(face(), DETAIL)
    assert np.array_equal(preprocess(face(), side), preprocess(coarse, side))


@pytest.mark.parametrize("shape", [(30, 30), (40, 60), (48, 60)])
def test_a_small_face_is_enlarged_in_one_step(shape: tuple[int, int]) -> None:
    """What has no finer detail than training had goes to a large input as it is, not by way of 48 pixels."""
    grey = face()[: shape[0], : shape[1], 0]
    assert np.array_equal(preprocess(grey, 96)[:, :, 0], cv2.resize(grey, (96, 96), interpolation=cv2.INTER_LINEAR))


def test_a_face_of_the_inputs_side_is_left_alone() -> None:
    """A data set's picture of 48 x 48 reaches a network of 48 pixels as its own bytes."""
    grey = face()[:48, :48, 0]
    assert np.array_equal(preprocess(grey, 48)[:, :, 0], grey)


def test_only_a_side_that_is_too_short_is_interpolated() -> None:
    """A crop that is shrunk on one side and keeps the other is averaged by area: nothing in it is enlarged."""
    grey = face()[:48, :60, 0]
    assert np.array_equal(preprocess(grey, 48)[:, :, 0], cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_any_layout_becomes_one(channels: int) -> None:
    """Grey, grey with an axis, BGR and BGRA all give uint8 (side, side, 1)."""
    grey = face()[:, :, 0]
    given = grey if channels == 0 else np.repeat(grey[:, :, np.newaxis], channels, axis=2)
    out = preprocess(given, 48)
    assert (out.dtype, out.shape) == (np.uint8, (48, 48, 1))
    assert np.array_equal(out, preprocess(grey, 48))


def test_transparency_changes_no_grey_level() -> None:
    """A coloured BGRA picture is as grey as the same in BGR, whatever its alpha."""
    clear = np.dstack([face(), face()[:, :, 1]])
    assert np.array_equal(preprocess(clear, 48), preprocess(face(), 48))


def test_black_and_white_stay() -> None:
    """0 and 255 come out as 0 and 255: nothing is scaled here."""
    for level in (0, 255):
        assert set(preprocess(np.full((30, 30), level, np.uint8), 48).ravel().tolist()) == {level}


@pytest.mark.parametrize(
    "bad",
    [np.zeros((0, 5), np.uint8), np.zeros((5, 5), np.float32), np.zeros((5, 5, 2), np.uint8), np.zeros(5, np.uint8)],
)
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    """An empty, float, two-channel or flat array is a ValueError that tells the shape."""
    with pytest.raises(ValueError, match="expected"):
        preprocess(bad, 48)
