"""A folder of labelled crops teaches how faces look in the room, never how common emotions are in the folder."""

import numpy as np
import pytest

from agent.calibration import labelled, probabilities
from agent.errors import CheckFailed
from agent.insight import weights
from agent.vision.card import Calibration as Scaling

SHARES = np.array([0.36, 0.26, 0.13, 0.11, 0.09, 0.01, 0.03, 0.01])
"""How common each emotion is in the room and where the model's calibration was fitted."""
OWN = Scaling(method="bcts", reference=tuple(map(tuple, (np.tile(SHARES / 16, (16, 1))).tolist())))
POINTS = weights.load(weights.DEFAULT).vector()


def _logits(label: np.ndarray, seed: int, over: float = 1.6) -> np.ndarray:
    """Return logits (n, 8) of a network that knows SHARES, but is surer than it may be."""
    x = 2.2 * np.eye(8)[label] + np.random.default_rng(seed).standard_normal((len(label), 8))
    return over * (2.2 * x + np.log(SHARES))


def _in_the_room(scaling: Scaling) -> tuple[float, float]:
    """Return (calibration error, bias of the mean index in points) of `scaling` on 20,000 faces of the room."""
    label = np.random.default_rng(9).choice(8, 20_000, p=SHARES)
    p = probabilities.apply(_logits(label, 10), scaling.temperature, scaling.biases)
    return probabilities.ece(p, np.eye(8)[label]), probabilities.index_bias(p, np.eye(8)[label], POINTS)


@pytest.mark.parametrize("each", [[200] * 8, [600] + [40] * 7, [150, 300, 300, 300, 300, 100, 100, 100]])
def test_the_mix_of_the_folder_does_not_matter(each: list[int]) -> None:
    """Balanced, mostly neutral or mostly emotional: in the room the error stays small and the index without bias."""
    label = np.repeat(np.arange(8), each)
    scaling = labelled.fitted(_logits(label, 1), np.eye(8)[label], OWN).part.scaling
    error, bias = _in_the_room(scaling)
    assert scaling.temperature == pytest.approx(1.6, rel=0.15)
    assert error < 0.03
    assert abs(bias) < 2.5
    assert np.sum(scaling.reference, axis=0) == pytest.approx(SHARES, abs=1e-6)


def test_a_right_model_is_not_replaced_by_the_mix_of_the_folder() -> None:
    """Where the model's own scaling is right, a folder that was balanced by hand has nothing to teach."""
    label = np.repeat(np.arange(8), 100)
    with pytest.raises(CheckFailed, match="leave --labelled away"):
        labelled.fitted(_logits(label, 1, over=1.0), np.eye(8)[label], OWN)


def test_crops_that_say_little_of_the_room_are_refused() -> None:
    """705 crops with 5 neutral ones are worth less than 40 of a room that is mostly neutral: the line says of what."""
    label = np.repeat(np.arange(8), [5] + [100] * 7)
    says = r"worth at least 150 .*\(neutral 36%\), got 37; label more of neutral, of which there are 5"
    with pytest.raises(CheckFailed, match=says) as error:
        labelled.fitted(_logits(label, 1), np.eye(8)[label], OWN)
    assert "\n" not in str(error.value)


def test_a_model_without_reference_has_the_shares_of_ferplus() -> None:
    """A card that does not say how common emotions are stands for those that do: all are of one data set."""
    targets = np.eye(8)[np.repeat(np.arange(8), 100)]
    weight = labelled.weighted(targets, Scaling())
    assert weight @ targets / len(targets) == pytest.approx(np.array(labelled.SHARES) / sum(labelled.SHARES))


def test_weights_are_repetitions() -> None:
    """A face of weight 3 counts like three faces, in the fit and in the calibration error."""
    rng = np.random.default_rng(4)
    label, times = rng.integers(0, 8, 300), rng.integers(1, 4, 300)
    logits, targets, again = _logits(label, 5), np.eye(8)[label], np.repeat(np.arange(300), times)
    weighted = probabilities.fit_bcts(logits, targets, times.astype(float))
    repeated = probabilities.fit_bcts(logits[again], targets[again])
    assert weighted[0] == pytest.approx(repeated[0])
    assert weighted[1] == pytest.approx(repeated[1], abs=1e-6)
    p = probabilities.softmax(logits)
    assert probabilities.ece(p, targets, times.astype(float)) == pytest.approx(
        probabilities.ece(p[again], targets[again])
    )
