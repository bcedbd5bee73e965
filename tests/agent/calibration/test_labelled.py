"""Probabilities part: what the model ships with, and a scaling fitted to a room's own crops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.calibration import labelled
from agent.calibration.probabilities import softmax
from agent.emotions import LABELS
from agent.errors import CheckFailed, InputError
from agent.vision.card import Calibration as Scaling
from agent.vision.card import Metric
from agent.vision.model_card import Bundle
from tests.agent.trust.signed_bundles import write_bundle

OWN = Scaling(method="bcts", temperature=1.0)


ECE = Metric(name="ece", model="int8", runtime="litert", split="test", faces="all", n=3000, value=0.02)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """A function that returns a bundle whose card has this scaling, and `ECE` with these changes."""
    loaded = Bundle.load(write_bundle(tmp_path_factory.mktemp("bundle") / "resnet", "resnet", None))

    def made(calibration: Scaling = OWN, **changed: object) -> Bundle:
        more = {"calibration": calibration, "metrics": (ECE.model_copy(update=changed),)}
        return replace(loaded, card=loaded.card.model_copy(update=more))

    return made


def _crops(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (logits, one-hot) of `n` faces, as many of each emotion, of a network that knows how common each is, but
    whose logits are `temperature` times too large."""
    rng = np.random.default_rng(3)
    label = np.arange(n) * 8 // n
    z = 1.6 * np.eye(8)[label] + rng.standard_normal((n, 8))
    return temperature * (1.6 * z + np.log(labelled.SHARES)), np.eye(8)[label]


def test_the_models_own_scaling_is_taken_over(model: Callable[..., Bundle]) -> None:
    """A calibrated model's numbers and its error on the test split become the part."""
    part = labelled.shipped(model()).part
    assert (part.origin, part.ece, part.n) == ("model", 0.02, 3000)


def test_a_model_that_was_not_tested_yet_is_judged_by_validation(model: Callable[..., Bundle]) -> None:
    """Without a number for the test split, that of the validation split counts."""
    assert labelled.shipped(model(split="validation", value=0.03)).part.ece == 0.03


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"value": 0.051}, "at most 0.05, resnet has 0.051 on the test split"),
        ({"calibration": Scaling()}, "without calibration"),
        ({"faces": "majority"}, "without calibration or its error"),
    ],
)
def test_a_model_that_is_not_calibrated_well_is_refused(
    model: Callable[..., Bundle], changed: dict[str, object], says: str
) -> None:
    """ECE above 0.05, or no calibration at all, is one line."""
    with pytest.raises(CheckFailed, match=says):
        labelled.shipped(model(**changed))


def test_crops_of_the_room_mend_an_overconfident_model() -> None:
    """Logits three times too large: the fit finds T = 3 and lowers the error on faces left out."""
    logits, targets = _crops(2000, 3.0)
    found = labelled.fitted(logits, targets, OWN)
    assert found.part.scaling.temperature == pytest.approx(3, rel=0.15)
    assert found.part.ece < 0.05 < labelled.probabilities.ece(softmax(logits), targets)
    assert sum(n for n, _, _ in found.after) == sum(n for n, _, _ in found.before) == 2000


def test_a_fit_that_gains_nothing_is_refused() -> None:
    """Where the model's own scaling is right, a fit to few crops is worse on those left out, and is refused."""
    logits, targets = _crops(2000, 1.0)
    with pytest.raises(CheckFailed, match="leave --labelled away"):
        labelled.fitted(logits, targets, OWN)


def test_wrong_labels_are_refused() -> None:
    """Labels that say the opposite of the logits have no positive temperature."""
    logits, targets = _crops(400, 1.0)
    with pytest.raises(CheckFailed, match="right folders"):
        labelled.fitted(-logits, targets, OWN)


def _written(folder: Path, each: int) -> Path:
    for name in LABELS:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            cv2.imwrite(str(folder / name / f"{number}.png"), np.full((40, 40), 30 * number % 255, np.uint8))
    return folder


def test_crops_are_read_by_folder(tmp_path: Path) -> None:
    """30 pictures of each emotion become 240 inputs of the network's size and their targets."""
    faces, targets = labelled.read(_written(tmp_path / "crops", 30), 48)
    assert faces.shape == (240, 48, 48, 1)
    assert targets.sum(axis=0).tolist() == [30] * 8


def test_too_few_crops_are_refused(tmp_path: Path) -> None:
    """80 crops are too few: one line with how many there are of each emotion."""
    with pytest.raises(CheckFailed, match=r"at least 200 crops, 5 of each emotion, got 80 \(neutral 10,"):
        labelled.read(_written(tmp_path / "crops", 10), 48)


@pytest.mark.parametrize(
    ("name", "content", "says"), [("joy/1.png", b"", "got 'joy'"), ("fear/x.png", b"no picture", "expected a picture")]
)
def test_odd_folders_and_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """A folder of an unknown emotion, and a file that is no picture, are named."""
    path = _written(tmp_path / "crops", 1) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        labelled.read(tmp_path / "crops", 48)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """No such folder is an input error."""
    with pytest.raises(InputError, match="none"):
        labelled.read(tmp_path / "none", 48)
