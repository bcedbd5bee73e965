"""Baseline part: the room's resting index, and sessions that are too short, too empty or odd."""

from collections.abc import Sequence

import numpy as np
import pytest

from agent.calibration import prior
from agent.calibration.baseline import BaselineMeter
from agent.errors import CheckFailed
from agent.insight import weights
from agent.records import Box, Reading
from agent.vision.seats import Seats

TABLE = weights.load(weights.DEFAULT)
NEUTRAL, HAPPY = np.eye(8)[0], np.eye(8)[1]


def _session(people: Sequence[np.ndarray], seconds: int, fps: float = 1.0) -> BaselineMeter:
    """Return a session in which each person looks the same all the time."""
    meter = BaselineMeter(Seats(), fps)
    for number in range(round(seconds * fps)):
        readings = [Reading(Box(100.0 * i, 50, 40, 40), tuple(p)) for i, p in enumerate(people)]
        meter.add(number / fps, readings)
    return meter


def test_everybody_counts_alike() -> None:
    """Three neutral and one happy person: (3 x 100 + 57.1) / 4 = 89.3, with an interval around it."""
    part = _session([NEUTRAL, NEUTRAL, NEUTRAL, HAPPY], 20).result(TABLE, k_min=4, room_seats=8)
    assert part.index == pytest.approx(89.29, abs=0.01)
    assert part.ci95[0] < 89.29 < part.ci95[1]
    assert (part.people, part.seconds, part.weights_id) == (4, 20, TABLE.id)
    assert part.prior_ratio is None


@pytest.mark.parametrize(
    ("people", "seconds", "says"),
    [
        (4, 30, "at least 5 people .* got 4"),
        (5, 19, r"got 0 \(5 seen at all, 19 s of pictures\)"),
        (0, 30, "got 0"),
        (1, 30, "got 1"),
        (0, 0, "got 0"),
    ],
)
def test_too_few_or_too_short_is_refused(people: int, seconds: int, says: str) -> None:
    """Fewer than k_min people x 20 s is refused in one line that says what came."""
    with pytest.raises(CheckFailed, match=says) as error:
        _session([NEUTRAL] * people, seconds).result(TABLE, k_min=5)
    assert "\n" not in str(error.value)


def test_seconds_count_at_any_rate() -> None:
    """20 s at four frames a second are 80 samples; 10 s of them do not do."""
    assert _session([NEUTRAL] * 5, 20, fps=4).result(TABLE, k_min=5).people == 5
    with pytest.raises(CheckFailed, match="got 0"):
        _session([NEUTRAL] * 5, 10, fps=4).result(TABLE, k_min=5)


def test_a_prior_that_cannot_be_tested_is_refused() -> None:
    """A card without a reference refuses the correction, naming what to do."""
    with pytest.raises(CheckFailed, match="cannot support it, leave it off"):
        _session([NEUTRAL] * 5, 20).result(TABLE, k_min=5, reference=())


def test_a_prior_that_fails_its_test_is_refused() -> None:
    """Faces that all say "surely contempt" are no shift of shares: χ²/df above 3 refuses."""
    odd = np.full(8, 0.02) + 0.84 * np.eye(8)[7]
    sure = np.eye(8) * 0.93 + 0.01
    joint = prior.reference(np.repeat(sure / sure.sum(axis=1, keepdims=True), 50, axis=0), np.full((400, 8), 1 / 8))
    with pytest.raises(CheckFailed, match="χ²/df at most 3, got"):
        _session([odd] * 5, 40).result(TABLE, k_min=5, reference=joint)


def test_a_prior_that_fits_moves_the_baseline() -> None:
    """With the correction on, ratios are stored and the index is that of the corrected probabilities."""
    rng = np.random.default_rng(2)
    shares = np.array([0.35, 0.3, 0.1, 0.1, 0.05, 0.03, 0.04, 0.03])
    room = np.array([0.7, 0.1, 0.05, 0.05, 0.03, 0.02, 0.03, 0.02])

    def look(label: int) -> np.ndarray:
        scores = 2.2 * (2.2 * np.eye(8)[label] + rng.standard_normal(8)) + np.log(shares)
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()

    labels = rng.choice(8, 3000, p=shares)
    joint = prior.reference(np.array([look(y) for y in labels]), np.eye(8)[labels])
    meter = BaselineMeter(Seats(), 1.0)
    for number in range(60):
        chosen = rng.choice(8, 10, p=room)
        meter.add(number, [Reading(Box(100.0 * i, 50, 40, 40), tuple(look(y))) for i, y in enumerate(chosen)])
    part = meter.result(TABLE, k_min=5, reference=joint)
    truth = float(TABLE.vector() @ room)
    assert part.prior_ratio[0] > 1.5 > part.prior_ratio[1]
    assert part.prior_fit < 3
    assert part.index == pytest.approx(truth, abs=3)
