"""Windows: when they close, and what a misbehaving clock or an empty room gives."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.insight import weights
from agent.insight.window import WindowAggregator
from agent.records import Box, Reading
from agent.vision.seats import Seats

pytestmark = pytest.mark.wheel

NEUTRAL = (1.0, 0, 0, 0, 0, 0, 0, 0)
MIXED = (0.5, 0.5, 0, 0, 0, 0, 0, 0)


def _window(**more: object) -> WindowAggregator:
    return WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=10, fps=1, **more)


def _people(n: int, probabilities: tuple[float, ...] = NEUTRAL) -> Sequence[Reading]:
    return [Reading(Box(100.0 * i, 0, 40, 40), probabilities) for i in range(n)]


def test_a_frame_at_the_end_belongs_to_the_next_window() -> None:
    """The frame at second 10 closes [0, 10) and is the first of [10, 20)."""
    window = _window()
    closed = [window.add(float(t), _people(3)) for t in range(11)]
    assert closed[:10] == [None] * 10
    assert (closed[10].start, closed[10].end, closed[10].frames) == (0, 10, 10)
    assert closed[10].moods.engagement.value == pytest.approx(100)
    assert closed[10].coverage == 1
    assert window.close().partial


def test_an_empty_room_gives_a_window_without_moods() -> None:
    """No faces: the window comes, moods None, coverage 0, no NaN."""
    window = _window()
    closed = [window.add(float(t), ()) for t in range(11)][10]
    assert (closed.moods, closed.seats, closed.coverage) == (None, 0, 0.0)


def test_a_hole_gives_one_window_and_keeps_the_grid() -> None:
    """A jump of 1000 windows closes one window; the next starts where the grid says."""
    window = _window()
    for t in range(5):
        window.add(float(t), _people(2))
    closed = window.add(10_003.0, _people(2))
    assert (closed.start, closed.end, closed.partial) == (0, 10, False)
    assert closed.coverage == 0.5
    assert window.close().start == 10_000


def test_a_step_back_closes_the_window_as_partial() -> None:
    """A clock set back an hour never gives a negative duration."""
    window = _window()
    for t in range(5000, 5006):
        window.add(float(t), _people(2))
    closed = window.add(1400.0, _people(2))
    assert closed.partial
    assert (closed.start, closed.end, closed.coverage) == (5000, 5006, 1)
    assert window.close().start == 1400


def test_a_late_frame_counts_as_one_with_the_frame_before() -> None:
    """Up to one period back is a late frame: it opens no window and keeps its readings. Further back, time was set."""
    window = _window()
    assert [window.add(t, _people(2)) for t in (0.0, 1.0, 2.0, 1.0, 1.5, 2.0, 3.0)] == [None] * 7
    closed = window.add(1.9, _people(2))
    assert (closed.frames, closed.end, closed.partial) == (7, 4, True)


def test_what_is_left_ends_with_its_last_frame_and_with_its_window() -> None:
    """A frame stands for the period after it, but not for a time that is the next window's."""
    ends = []
    for last in (3.0, 9.5):
        window = _window()
        window.add(0.0, ())
        window.add(last, ())
        ends.append(window.close().end)
    assert (ends, _window().close()) == ([4, 10], None)


@given(start=st.floats(-1e6, 1e6), length=st.floats(5, 400), steps=st.lists(st.floats(0, 1000), max_size=20))
def test_every_frame_is_in_the_window_that_its_time_says(start: float, length: float, steps: list[float]) -> None:
    """Wherever the grid begins and however long it goes on: a window ends after its last frame, before the next one."""
    window, at = WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=length, fps=1), start
    window.add(at, ())
    for step in steps:
        before, at = at, at + step
        if closed := window.add(at, ()):
            assert closed.start <= before < closed.end <= at


def test_time_that_is_none_is_refused() -> None:
    """A NaN would never close a window."""
    for at in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite time"):
            _window().add(at, ())


class _OneSeatTwice:
    """Seats that found out that provisional ids 0 and 2 are one place."""

    def add(self, boxes: Sequence[Box]) -> list[int]:
        return list(range(len(boxes)))

    def merged(self) -> dict[int, int]:
        return {0: 0, 1: 1, 2: 0}

    def reset(self) -> None:
        pass


def test_two_samples_of_one_seat_in_a_frame_count_once() -> None:
    """Fragments that merge into one seat neither add a person nor lift coverage."""
    window = WindowAggregator(_OneSeatTwice(), weights.load(weights.DEFAULT), window_s=10, fps=1)
    readings = [*_people(1), Reading(Box(100, 0, 40, 40), None), *_people(1)]
    closed = [window.add(float(t), readings) for t in range(11)][10]
    assert (closed.seats, closed.contributing, closed.coverage) == (2, 1, 0.5)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_boxes_of_one_seat_the_surer_one_counts(order: int) -> None:
    """Whichever comes first: a face that two tiles found is read off the better picture."""
    window = WindowAggregator(_OneSeatTwice(), weights.load(weights.DEFAULT), window_s=10, fps=1)
    both = [Reading(Box(0, 0, 40, 40, 0.9), NEUTRAL), Reading(Box(2, 0, 40, 40, 0.7), MIXED)][::order]
    readings = [both[0], Reading(Box(100, 0, 40, 40), None), both[1]]
    closed = [window.add(float(t), readings) for t in range(11)][10]
    assert closed.moods.engagement.value == pytest.approx(100)


def test_one_person_has_a_value_and_no_interval() -> None:
    """One seat: a value for the privacy gate to suppress, ci95 None."""
    window = _window()
    closed = [window.add(float(t), _people(1)) for t in range(11)][10]
    assert closed.moods.engagement.ci95 is None


def test_camera_trouble_gives_its_reason_and_no_result() -> None:
    """More than half of the frames spoiled: the reason that most of them have, not "nobody engaged". Half may be."""
    for good, told in ((4, "camera.frozen"), (5, None)):
        troubles = [*[None] * good, "camera.black", *["camera.frozen"] * (9 - good), None]
        window = _window()
        closed = [window.add(float(t), () if why else _people(2), why) for t, why in enumerate(troubles)][10]
        assert (closed.trouble, closed.moods is None) == (told, told is not None)


def test_a_window_that_was_paused_for_a_moment_has_no_result() -> None:
    """Who pauses and resumes would choose which part of the window is published."""
    window = _window()
    closed = [window.add(float(t), _people(2) if t != 4 else (), None if t != 4 else "paused") for t in range(11)][10]
    assert (closed.trouble, closed.moods, closed.person_scores) == ("paused", None, ())


def test_people_whom_nobody_saw_lower_the_coverage_alone() -> None:
    """Three people in a room of six: half of it is covered, and three were seen; of five in a room of two, five count;
    in an empty room of six nobody was seen, whatever the configuration says."""
    rooms = [(_window(room_seats=room), people) for room, people in ((None, 3), (6, 3), (2, 5), (6, 0))]
    closed = [[window.add(float(t), _people(people)) for t in range(11)][10] for window, people in rooms]
    told = [(w.seats, w.contributing, w.coverage) for w in closed]
    assert told == [(3, 3, 1.0), (3, 3, 0.5), (5, 5, 1.0), (0, 0, 0.0)]


def test_without_the_rooms_seats_the_interval_allows_for_others() -> None:
    """Three people, each as always: of a room of three all is known; of an unknown one they are three of many."""
    moods = [NEUTRAL, MIXED, MIXED[::-1]]
    readings = [Reading(Box(100.0 * i, 0, 40, 40), mood) for i, mood in enumerate(moods)]
    known, unknown = (
        [window.add(float(t), readings) for t in range(11)][10].moods.engagement
        for window in (_window(room_seats=3), _window())
    )
    assert known.value == unknown.value
    assert known.ci95 == pytest.approx((known.value, known.value))
    assert unknown.ci95[0] + 10 < known.value < unknown.ci95[1] - 10


def test_an_unusable_window_tells_of_no_people() -> None:
    """The camera was covered: the room of six may be full, and nobody was seen."""
    window = _window(room_seats=6)
    closed = [window.add(float(t), (), "camera.covered") for t in range(11)][10]
    assert (closed.seats, closed.contributing, closed.coverage) == (0, 0, 0.0)


@pytest.mark.parametrize(("ratio", "shares", "index"), [(None, 0.5, 78.57143), ((4.0, *[1.0] * 7), 0.8, 91.42857)])
def test_the_rooms_prior_moves_shares_and_index(ratio: tuple[float, ...] | None, shares: float, index: float) -> None:
    """Odds of 1 to 1 times a factor of four are 4 to 1: of the shares, and of the index between 100 and 57.1 points."""
    window = _window(prior_ratio=ratio)
    moods = [window.add(float(t), _people(3, MIXED)) for t in range(11)][10].moods
    assert moods.shares == pytest.approx((shares, 1 - shares, 0, 0, 0, 0, 0, 0))
    assert moods.engagement.value == pytest.approx(index)


def test_a_window_too_short_to_count_is_refused() -> None:
    """Two frames a window cannot give any seat five samples."""
    with pytest.raises(ConfigError, match="at least 5 frames"):
        WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=2, fps=1)
