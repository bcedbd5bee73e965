"""Baseline part: the room's resting index, and sessions that are too short, too empty or odd."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from agent.calibration import prior
from agent.calibration.baseline import BaselineMeter
from agent.errors import CheckFailed
from agent.insight import weights
from agent.records import Box, Reading
from agent.vision.seats import Seats
from agent.vision.turns import Turns

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
        (5, 19, r"got 0 \(5 places seen at all, 19 s of pictures\)"),
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


def _taking_turns(fps: float, seconds: int, people: int, budget: int) -> BaselineMeter:
    """Return a session in which `budget` faces a frame are classified and the others wait."""
    meter, turns = BaselineMeter(Seats(), fps), Turns(budget)
    boxes = [Box(100.0 * (i % 10), 100.0 * (i // 10), 40, 40) for i in range(people)]
    for number in range(round(seconds * fps)):
        chosen = turns.choose(number / fps, boxes)
        readings = (
            Reading(box, tuple(NEUTRAL)) if i in chosen else Reading(box, None, True) for i, box in enumerate(boxes)
        )
        meter.add(number / fps, list(readings))
    return meter


def test_who_waits_for_a_turn_is_seen() -> None:
    """32 people, of whom 8 are classified in each of 5 frames a second: a minute of it is a minute of each of them."""
    assert _taking_turns(5, 60, 32, 8).result(TABLE, k_min=32).people == 32
    with pytest.raises(CheckFailed, match=r"got 0 \(32 places seen at all, 19 s"):
        _taking_turns(5, 19, 32, 8).result(TABLE, k_min=5)


@pytest.mark.parametrize(("read", "people"), [(0, 0), (4, 0), (19, 0), (20, 5)])
def test_who_is_rejected_is_not_seen(read: int, people: int) -> None:
    """A minute in view, but too dark or blurred to be read for all but `read` seconds of it: those count."""
    meter = BaselineMeter(Seats(), 1.0)
    for at in range(60):
        p = tuple(NEUTRAL) if at < read else None
        meter.add(at, [Reading(Box(100.0 * i, 50, 40, 40), p) for i in range(5)])
    if people:
        assert meter.result(TABLE, k_min=5).people == people
    else:
        with pytest.raises(CheckFailed, match="got 0"):
            meter.result(TABLE, k_min=5)


def test_who_only_waits_has_no_samples() -> None:
    """Seen for a minute and read four times is fewer than a window needs of a seat."""
    meter = BaselineMeter(Seats(), 1.0)
    for at in range(60):
        p = tuple(NEUTRAL) if at < 4 else None
        meter.add(at, [Reading(Box(100.0 * i, 50, 40, 40), p, waits=p is None) for i in range(5)])
    with pytest.raises(CheckFailed, match=r"got 0 \(5 places seen at all"):
        meter.result(TABLE, k_min=5)


def _shifted(shares: np.ndarray, room: np.ndarray) -> tuple[BaselineMeter, np.ndarray]:
    """Return a session of a room in which emotions are as common as `room` says, and the reference of a training in
    which they are as common as `shares` says; a face of each looks the same in both."""
    rng = np.random.default_rng(2)

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
    return meter, joint


def test_a_rare_emotion_that_is_everywhere_refuses_the_correction() -> None:
    """A room in which one face in four is contemptuous, twelve times as many as in training, is no shift of shares."""
    shares = np.array([0.3, 0.24, 0.12, 0.12, 0.08, 0.06, 0.06, 0.02])
    room = np.array([0.2, 0.15, 0.1, 0.1, 0.08, 0.06, 0.06, 0.25])
    meter, joint = _shifted(shares, room)
    with pytest.raises(CheckFailed, match="no emotion to be more than 5 times as common as in training, got contempt"):
        meter.result(TABLE, k_min=5, reference=joint)


def test_the_baseline_says_in_whose_points_it_is() -> None:
    """A school may edit its own table under the same id: its points are part of the name; a packaged one's are not."""
    assert _session([NEUTRAL] * 5, 20).result(TABLE, k_min=5).weights_id == TABLE.id
    own = replace(TABLE, id="school/1")
    ids = {
        _session([NEUTRAL] * 5, 20).result(table, k_min=5).weights_id
        for table in (own, replace(own, points=(1.0, *own.points[1:])))
    }
    assert len(ids) == 2
    assert all(name.startswith("school/1#") for name in ids)


def test_one_person_who_walks_is_no_room() -> None:
    """Half a minute at each of five places has five seats, each seen for long enough, and is one person."""
    meter = BaselineMeter(Seats(), 1.0)
    for at in range(150):
        meter.add(at, [Reading(Box(100.0 * (at // 30), 50, 40, 40), tuple(NEUTRAL))])
    with pytest.raises(CheckFailed, match=r"got 1 \(5 places seen at all"):
        meter.result(TABLE, k_min=5)


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
    shares = np.array([0.35, 0.3, 0.1, 0.1, 0.05, 0.03, 0.04, 0.03])
    room = np.array([0.7, 0.1, 0.05, 0.05, 0.03, 0.02, 0.03, 0.02])
    meter, joint = _shifted(shares, room)
    part = meter.result(TABLE, k_min=5, reference=joint)
    truth = float(TABLE.vector() @ room)
    assert part.prior_ratio[0] > 1.5 > part.prior_ratio[1]
    assert part.prior_fit < 3
    assert part.index == pytest.approx(truth, abs=3)
