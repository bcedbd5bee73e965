"""The second look: a face turned upright by the detector's eyes, in evaluation."""

import dataclasses
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from tests.agent.vision.scenes import cut, portraits
from training import config, data, distill, evaluate, find_lr, loop, models, predict, upright


@pytest.fixture(scope="module")
def faces() -> npt.NDArray[np.uint8]:
    """A portrait and its mirror image as FER2013 would have them: uint8 (2, 48, 48), the face fills its square."""
    squares = (cv2.resize(cut(head, 1.15).picture, (48, 48), interpolation=cv2.INTER_AREA) for head in portraits()[:2])
    return np.stack([np.asarray(cv2.cvtColor(square, cv2.COLOR_BGR2GRAY), np.uint8) for square in squares])


def changed(faces: npt.NDArray[np.uint8], degrees: float, size: float, right: float) -> npt.NDArray[np.uint8]:
    matrix = cv2.getRotationMatrix2D((23.5, 23.5), degrees, size)
    matrix[0, 2] += right
    moved = [cv2.warpAffine(face, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE) for face in faces]
    return np.asarray(np.stack(moved), np.uint8)


def likeness(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> list[float]:
    """Correlation of the inner parts of each pair of faces; what was outside a picture is not compared."""
    inner = (slice(None), slice(10, 38), slice(10, 38))
    return [float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) for x, y in zip(a[inner], b[inner], strict=True)]


@pytest.mark.parametrize(
    ("degrees", "size", "right"), [(20, 1, 0), (-20, 1, 0), (0, 0.85, 0), (0, 1, 5), (15, 0.9, -4)]
)
def test_a_face_is_the_same_however_it_was_cut_out(
    faces: npt.NDArray[np.uint8], degrees: float, size: float, right: float
) -> None:
    """Tilted, smaller or off centre: upright it is nearly the same picture, which it was not before."""
    other = changed(faces, degrees, size, right)
    after = likeness(upright.turned(other), upright.turned(faces))
    assert min(after) > 0.8
    assert max(likeness(other, faces)) < 0.6


def test_a_picture_without_a_face_stays_as_it_is() -> None:
    """Where nothing is seen there is nothing to turn; nor is no face at all an error."""
    flat = np.full((3, 48, 48), 90, np.uint8)
    assert np.array_equal(upright.turned(flat), flat)
    assert upright.turned(flat[:0]).shape == (0, 48, 48)


def test_both_looks_are_averaged(faces: npt.NDArray[np.uint8]) -> None:
    """The logits are the mean of those of the face and of itself upright."""

    def column(some: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        return some[:, :8, 24].astype(np.float64)

    first, second = column(faces), column(upright.turned(faces))
    assert not np.array_equal(first, second)
    assert np.allclose(predict.looking(column, upright=True)(faces), (first + second) / 2)


@pytest.mark.parametrize("asked", [True, False], ids=["twice", "once"])
def test_a_teacher_looks_twice_where_the_config_says_so(
    asked: bool, faces: npt.NDArray[np.uint8], tiny: data.Dataset, tmp_path: Path
) -> None:
    """In training and in the search for a rate alike, at a batch as it is and then upright."""
    shown: list[npt.NDArray[np.uint8]] = []

    def predictor(some: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        shown.append(some)
        return np.zeros((len(some), 8))

    train = dataclasses.replace(tiny.train, faces=np.tile(faces, (48, 1, 1)))
    settings = config.Config(
        "s", "cnn", (config.Phase(1, 48),), batch=16, train_on="all", teacher_share=0.5, teacher_upright=asked
    )
    teacher = distill.OnView([predictor], "spy")
    loop.fit(
        settings, dataclasses.replace(tiny, train=train), tmp_path / "run", resume=False, verbose=0, teacher=teacher
    )
    find_lr.range_test(settings, train, lowest=1e-6, highest=1, steps=3, teacher=teacher)
    looked = [np.array_equal(b, upright.turned(a)) for a, b in itertools.pairwise(shown)]
    assert any(looked[: len(looked) // 2]) is any(looked[-3:]) is asked


def test_the_evaluation_says_how_often_it_looked(tiny_dir: Path, tmp_path: Path) -> None:
    """Text and JSON of `training.evaluate --upright --flip` name the looks; without them there was one."""
    models.build(config.Config("cnn", "cnn", (config.Phase(1, 48),)), 48).save(tmp_path / "final.keras")
    asked = [str(tmp_path / "final.keras"), "--data", str(tiny_dir)]
    text = CliRunner().invoke(evaluate.main, [*asked, "--upright", "--flip"]).stdout
    assert "votes of fer2013new.csv, with mirror image, and upright)" in text
    for flags in ([], ["--upright"]):
        (found,) = json.loads(CliRunner().invoke(evaluate.main, [*asked, *flags, "--json"]).stdout)
        assert (found["flip"], found["upright"]) == (False, bool(flags))
