"""The prior correction finds shares that shifted, and its gate sees when something else shifted."""

from pathlib import Path

import numpy as np
import pytest

from agent.calibration import prior
from agent.calibration.probabilities import softmax

SHARES = np.array([0.36, 0.26, 0.12, 0.12, 0.08, 0.02, 0.03, 0.01])
ROOM = np.array([0.60, 0.12, 0.06, 0.12, 0.04, 0.02, 0.03, 0.01])


def _faces(label: np.ndarray, rng: np.random.Generator, haze: float = 1.0) -> np.ndarray:
    """Return exactly calibrated probabilities (n, 8) under SHARES: each class is a normal about its corner."""
    x = haze * 2.2 * np.eye(8)[label] + rng.standard_normal((len(label), 8))
    return softmax(2.2 * x + np.log(SHARES))


def _reference() -> np.ndarray:
    rng = np.random.default_rng(0)
    label = rng.choice(8, 3500, p=SHARES)
    return prior.reference(_faces(label, rng), np.eye(8)[label])


def _seats(seed: int, people: int = 12, looks: int = 40, haze: float = 1.0) -> list[np.ndarray]:
    """Return a room whose people each have a mixture of their own about ROOM."""
    rng = np.random.default_rng(seed)
    mixtures = rng.dirichlet(15 * ROOM, people)
    return [_faces(rng.choice(8, looks, p=m), rng, haze) for m in mixtures]


def test_shares_that_shifted_are_found() -> None:
    """Neutral at 60 % instead of 36 %: the estimate is nearer to it than the plain mean, by half at least."""
    seats = _seats(1, people=40)
    found = prior.correct(seats, _reference())
    plain = float(np.mean([seat[:, 0].mean() for seat in seats]))
    assert abs(found.shares[0] - ROOM[0]) < abs(plain - ROOM[0]) / 2
    assert found.ratio[0] == pytest.approx(ROOM[0] / SHARES[0], rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_gate_opens_for_a_shift_of_shares(seed: int) -> None:
    """Where only shares differ, χ²/df is below 3."""
    assert prior.correct(_seats(seed), _reference()).fit < prior.WORST_FIT


@pytest.mark.parametrize("seed", range(5))
def test_the_gate_shuts_for_faces_that_look_different(seed: int) -> None:
    """Faces that show every class half as clearly break the assumption: χ²/df is above 3."""
    assert prior.correct(_seats(seed, haze=0.5), _reference()).fit > prior.WORST_FIT


def test_factors_are_bounded() -> None:
    """A class that is nowhere gets a fifth, one that is everywhere at most five times, and nothing is NaN."""
    always_fear = np.tile(np.eye(8)[6] * 0.93 + 0.01 * (1 - np.eye(8)[6]), (20, 1))
    found = prior.correct([always_fear] * 6, _reference())
    assert min(found.ratio) == pytest.approx(0.2)
    assert max(found.ratio) == pytest.approx(5)
    assert np.isfinite([*found.ratio, *found.shares, found.fit]).all()


def test_what_cannot_be_tested_is_not_used() -> None:
    """A model that is never sure and always says the same leaves nothing to compare: the fit is infinite."""
    dull = np.full((200, 8), 0.1) + 0.2 * np.eye(8)[0]
    joint = prior.reference(dull, np.tile(SHARES, (200, 1)))
    assert prior.correct([dull[:40]] * 10, joint).fit == np.inf


def test_one_person_is_refused() -> None:
    """The correction is the room's; one person has none."""
    with pytest.raises(ValueError, match="at least two seats"):
        prior.correct(_seats(1, people=1), _reference())


def test_a_model_without_reference_is_refused() -> None:
    """A bundle made before the reference existed cannot be tested, so it is refused."""
    with pytest.raises(ValueError, match="expected a reference of shape"):
        prior.correct(_seats(1), ())


def _shifted(shift: float, emotion: int, people: int = 12) -> prior.Correction:
    """Return what is found in a room of the usual shares where every face looks `shift` sd more of one emotion."""
    rng = np.random.default_rng(5)
    seats = []
    for _ in range(people):
        label = rng.choice(8, 60, p=SHARES)
        x = 2.2 * np.eye(8)[label] + rng.standard_normal((60, 8)) + shift * np.eye(8)[emotion]
        seats.append(softmax(2.2 * x + np.log(SHARES)))
    return prior.correct(seats, _reference())


def test_a_look_that_makes_a_rare_emotion_common_is_cut_off() -> None:
    """Light in which all look more contemptuous: factor 5 does not explain it, and what is beyond it is said."""
    assert _shifted(1.0, 7).cut > prior.WORST_CUT


@pytest.mark.parametrize("seed", range(5))
def test_a_plausible_shift_is_not_cut_off(seed: int) -> None:
    """Two people in three neutral, and emotions that nobody shows: no upper bound is reached, lower ones may be."""
    rng = np.random.default_rng(seed)
    quiet = np.array([0.82, 0.08, 0.03, 0.04, 0.02, 0.003, 0.005, 0.002])
    for room in (ROOM, quiet):
        found = prior.correct([_faces(rng.choice(8, 60, p=m), rng) for m in rng.dirichlet(15 * room, 12)], _reference())
        assert found.cut <= prior.WORST_CUT
    assert min(found.ratio) == pytest.approx(0.2)


def test_what_it_cannot_see_is_written_down() -> None:
    """All look a little sadder: the fit is good and nothing is cut off. The README must say that this is blind."""
    found = _shifted(0.5, 3)
    assert (found.fit < prior.WORST_FIT, found.cut) == (True, 0)
    assert "cannot see" in (Path(prior.__file__).parent / "README.md").read_text()
