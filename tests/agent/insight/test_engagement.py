"""The definitions of the index and what goes with it, to the letter; and that nothing ever becomes NaN."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.emotions import LABELS
from agent.insight import engagement, weights
from agent.insight.window import WindowAggregator
from agent.records import Box, Reading, Window
from agent.vision.seats import Seats

TABLE = weights.load(weights.DEFAULT)
PURE = dict(zip(LABELS, np.eye(8), strict=True))


def _seat(*names: str, looks: int = 6) -> np.ndarray:
    """Return `looks` looks at one person, who shows these emotions in turn."""
    return np.array([PURE[names[i % len(names)]] for i in range(looks)])


@pytest.mark.parametrize(
    ("emotion", "points", "valence", "arousal"),
    [
        ("neutral", 100, 0, 0),
        ("happiness", 400 / 7, 0.81, 0.51),
        ("surprise", 400 / 7, 0.40, 0.67),
        ("sadness", 100 / 7, -0.63, -0.27),
        ("anger", 50 / 7, -0.51, 0.59),
        ("disgust", 0, -0.60, 0.35),
        ("fear", 100 / 7, -0.64, 0.60),
        ("contempt", 0, -0.40, 0.20),
    ],
)
def test_one_emotion_gives_its_own_numbers(emotion: str, points: float, valence: float, arousal: float) -> None:
    """A room of one pure emotion has that emotion's weight, valence, arousal and share."""
    moods, _ = engagement.measure([_seat(emotion)] * 3, TABLE, 3)
    assert moods.engagement.value == pytest.approx(points)
    assert (moods.valence, moods.arousal) == pytest.approx((valence, arousal))
    assert moods.expressivity == pytest.approx(0 if emotion == "neutral" else 100)
    assert moods.shares == pytest.approx(PURE[emotion])


def test_people_count_alike_however_often_they_are_seen() -> None:
    """Six looks at a neutral person and sixty at a happy one: the mean of the two people."""
    moods, _ = engagement.measure([_seat("neutral", looks=6), _seat("happiness", looks=60)], TABLE, 2)
    assert moods.engagement.value == pytest.approx((100 + 400 / 7) / 2)
    assert moods.shares[:2] == pytest.approx((0.5, 0.5))


def test_a_seat_with_four_looks_does_not_count() -> None:
    """Fewer than five accepted samples of a seat are left out of everything; five are enough."""
    moods, counted = engagement.measure(
        [_seat("neutral"), _seat("neutral", looks=5), _seat("anger", looks=4)], TABLE, 3
    )
    assert counted == 2
    assert moods.engagement.value == pytest.approx(100)


def test_rounding_leaves_no_index_above_the_scale() -> None:
    """What a rounding error put over 100 points counts as 100, in delta too."""
    moods, _ = engagement.measure([_seat("neutral") * 1.000001] * 2, TABLE, 2, 60)
    assert (moods.engagement.value, moods.engagement.delta) == (100, 40)


def test_the_interval_is_the_formula() -> None:
    """k = 3 of N = 6: t V with V = (1-f) s_b²/k + (f/k) mean[s_w² min(1, inflation/m)], by hand for steady seats."""
    seats = [_seat("neutral"), _seat("happiness"), _seat("disgust")]
    moods, _ = engagement.measure(seats, TABLE, 6)
    between = np.var([100, 400 / 7, 0], ddof=1)
    half = 4.30265 * math.sqrt(0.5 * between / 3)
    value = (100 + 400 / 7) / 3
    assert moods.engagement.ci95 == pytest.approx((max(0, value - half), min(100, value + half)))


def test_delta_is_the_difference_from_the_rooms_own_baseline() -> None:
    """delta is the index minus the baseline, and null without one."""
    assert engagement.measure([_seat("neutral")] * 2, TABLE, 2, 62.5)[0].engagement.delta == pytest.approx(37.5)
    assert engagement.measure([_seat("neutral")] * 2, TABLE, 2)[0].engagement.delta is None


def test_the_weights_id_travels_with_the_number() -> None:
    """Every result names the table that made it."""
    assert engagement.measure([_seat("neutral")] * 2, TABLE, 2)[0].engagement.weights_id == "sharma2019-affine/1"


@pytest.mark.parametrize(
    "wrong",
    [
        (0.5,) * 8,
        (0.1,) * 8,
        (math.nan,) + (0.1,) * 7,
        (1.5, -0.5, 0, 0, 0, 0, 0, 0),
        (1.0,),
        (1.0, 0, 0, 0, 0, 0, 0, 0, 0),
    ],
)
def test_what_is_no_distribution_never_becomes_a_reading(wrong: tuple[float, ...]) -> None:
    """Probabilities that do not sum to 1, are not eight, negative or NaN are refused where they are made."""
    with pytest.raises(ValueError, match="8 probabilities that sum to 1"):
        Reading(Box(0, 0, 40, 40), wrong)


def test_the_rounding_of_int8_is_taken_out() -> None:
    """Rows that sum to 0.9995 count as the distribution that they mean: index and shares are as if they summed to 1."""
    window = WindowAggregator(Seats(), TABLE, window_s=10, fps=1)
    for second in range(10):
        window.add(float(second), [Reading(Box(0, 0, 40, 40), tuple(0.9995 * p for p in PURE["neutral"]))])
    moods = window.close().moods
    assert moods.engagement.value == pytest.approx(100, abs=1e-9)
    assert sum(moods.shares) == pytest.approx(1, abs=1e-12)


_PEOPLE = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(LABELS), st.booleans()), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    frames=st.lists(st.tuples(_PEOPLE, st.floats(-30, 90, allow_nan=False)), min_size=1, max_size=40),
    baseline=st.none() | st.floats(0, 100),
    ratio=st.none() | st.lists(st.floats(0.2, 5), min_size=8, max_size=8),
)
def test_no_window_ever_holds_nan(frames, baseline, ratio) -> None:
    """Any people and rejected faces, under a clock that jumps to and fro: all numbers finite and in range."""
    window = WindowAggregator(Seats(), TABLE, window_s=10, fps=1, baseline=baseline, prior_ratio=ratio)
    at, closed = 0.0, []
    for people, jump in frames:
        at += 1 if abs(jump) < 20 else jump
        readings = [
            Reading(Box(60.0 * place, 0, 40, 40), tuple(PURE[name]) if accepted else None)
            for place, name, accepted in people
        ]
        closed += [window.add(at, readings), window.close() if jump > 80 else None]
    for one in [w for w in (*closed, window.close()) if w is not None]:
        _check(one)


def _check(window: Window) -> None:
    assert window.end > window.start
    assert 0 <= window.coverage <= 1
    assert window.contributing <= window.seats
    if window.moods is None:
        return
    moods, index = window.moods, window.moods.engagement
    assert 0 <= index.value <= 100
    assert index.ci95 is None or 0 <= index.ci95[0] <= index.value + 1e-9 <= index.ci95[1] + 2e-9 <= 100 + 3e-9
    assert index.delta is None or -100 <= index.delta <= 100
    assert -1 <= moods.valence <= 1
    assert -1 <= moods.arousal <= 1
    assert 0 <= moods.expressivity <= 100
    assert sum(moods.shares) == pytest.approx(1)
    json.dumps([index.value, index.ci95, moods.valence, moods.shares, window.coverage], allow_nan=False)
