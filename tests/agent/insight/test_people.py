"""One person is one person, however many places they hold."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import Privacy
from agent.insight import people, weights
from agent.insight.privacy import Gate
from agent.insight.window import WindowAggregator
from agent.records import Box, Reading, Window
from agent.vision.seats import Seats

pytestmark = pytest.mark.wheel

_CALM = (1.0, 0, 0, 0, 0, 0, 0, 0)
_SAD = (0, 0, 0, 1.0, 0, 0, 0, 0)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=8))
@settings(max_examples=1000)
def test_never_more_groups_than_people(walks: list[list[int]]) -> None:
    """However people walk among ten places, one place each at a time."""
    sightings: dict[int, set[int]] = {}
    for walk in walks:
        for frame, place in enumerate(walk):
            sightings.setdefault(place, set()).add(frame)
    groups = people.certain(sightings)
    assert sorted(seat for group in groups for seat in group) == sorted(sightings)
    assert len(groups) <= len(walks)


def test_seen_together_is_two_people() -> None:
    """Half of the frames in common, or 15 in 100: two. A tenth, or none: perhaps one; linked through a third: one."""
    early, late, always = set(range(10)), set(range(10, 20)), set(range(20))
    assert people.certain({1: early, 2: always}) == [[2], [1]]
    assert len(people.certain({1: set(range(20)), 2: set(range(17, 37))})) == 2
    assert len(people.certain({1: early, 2: late})) == 1
    assert len(people.certain({1: early, 2: {*late, 0}})) == 1
    assert len(people.certain({1: set(range(5)), 2: set(range(3, 8)), 3: set(range(10, 15))})) == 1


def test_two_people_on_three_chairs_are_two() -> None:
    """Each pair of chairs was taken at once, and never all three."""
    assert len(people.certain({1: {0, 2}, 2: {0, 1}, 3: {1, 2}})) == 2


@pytest.mark.parametrize("order", list(itertools.permutations("ABC")))
def test_of_too_many_groups_those_seen_least_are_put_together(order: tuple[str, ...]) -> None:
    """Two people on three chairs, in any order: the chair that was taken longest stays one person's own."""
    seen = {"A": set(range(25)), "B": set(range(10, 30)), "C": {*range(5), *range(25, 30)}}
    groups = people.certain({chair: seen[chair] for chair in order})
    assert sorted("".join(sorted(group)) for group in groups) == ["A", "BC"]


@pytest.mark.parametrize(("readable", "least", "most"), [(0.15, 1, 4), (0.3, 5, 20)])
def test_twenty_people_who_are_seldom_readable_are_not_guessed(readable: float, least: int, most: int) -> None:
    """At 15 % of 60 looks nothing proves that five were there; at 30 % enough were read at the same time."""
    for seed in range(10):
        chance = random.Random(seed)
        seen = {person: {look for look in range(60) if chance.random() < readable} for person in range(20)}
        counting = {person: looks for person, looks in seen.items() if len(looks) >= 5}
        assert least <= len(people.certain(counting)) <= most


def _closed(places: list[list[int]], length: int = 60) -> Window:
    """Return the window of people who stay equally long at each of their places; the last one is sad, others calm."""
    window = WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=length, fps=1)
    for second in range(length):
        readings = []
        for walk in places:
            mood = _SAD if walk is places[-1] else _CALM
            x = 200.0 * walk[second * len(walk) // length]
            readings.append(Reading(Box(x, 0, 40, 40), mood))
        assert window.add(float(second), readings) is None
    closed = window.add(float(length), ())
    assert closed is not None
    return closed


def test_one_person_at_five_places_gives_no_result() -> None:
    """A cleaner who stays twelve seconds at each of five places has five seats, and is one person: nothing is told."""
    closed = _closed([[0, 1, 2, 3, 4]])
    assert (closed.seats, closed.contributing, len(closed.person_scores)) == (5, 5, 1)
    told = Gate(Privacy())(closed)
    assert (told.suppressed, told.engagement, told.shares, told.n_eff, told.coverage) == ("k_min", None, None, 0, 0)


def test_two_people_at_six_places_each_are_no_ten() -> None:
    """Twelve seats, but nothing proves that there were more than two people."""
    closed = _closed([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]], 300)
    assert closed.contributing == 12
    assert len(closed.person_scores) <= 2
    assert Gate(Privacy(profile="strict"), below=random.Random(1).randrange)(closed).suppressed == "k_min"


@pytest.mark.parametrize("walk", [[9], [9, 10, 11, 12]])
def test_whoever_walks_moves_the_noised_sum_by_one_score(walk: list[int]) -> None:
    """Nine sit still, one is sad at one place or at four: one score of ten either way, which the noise is made for."""
    closed = _closed([*([place] for place in range(9)), walk], 300)
    assert closed.person_scores == pytest.approx((100 / 7, *[100.0] * 9))
    told = Gate(Privacy(profile="strict"), below=random.Random(1).randrange)(closed)
    assert (told.suppressed, told.n_eff) == (None, 10.0)


@pytest.mark.parametrize("people", [1, 3])
def test_whom_nobody_can_read_makes_no_second_person(people: int) -> None:
    """Half-way, readable people change chairs with as many whose faces are turned away: all looks are the former's."""
    window = WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=60, fps=1)
    for second in range(60):
        first = [Box(200.0 * chair, 0, 40, 40) for chair in range(people)]
        second_half = [Box(200.0 * chair, 0, 40, 40) for chair in range(people, 2 * people)]
        readable, turned = (first, second_half) if second < 30 else (second_half, first)
        window.add(float(second), [*(Reading(box, _CALM) for box in readable), *(Reading(box, None) for box in turned)])
    closed = window.add(60.0, ())
    assert closed is not None
    assert (closed.seats, closed.contributing) == (2 * people, 2 * people)
    assert len(closed.person_scores) == 1


def test_a_face_that_waits_for_its_turn_is_not_missing() -> None:
    """Ten people of whom five are classified a frame are all there: coverage 1. Five that are rejected are missing."""
    for waits, coverage in ((True, 1.0), (False, 0.5)):
        window = WindowAggregator(Seats(), weights.load(weights.DEFAULT), window_s=20, fps=1)
        for second in range(20):
            boxes = [Box(200.0 * i, 0, 40, 40) for i in range(10)]
            window.add(
                float(second),
                [
                    Reading(box, _CALM) if (i + second) % 2 else Reading(box, None, waits=waits)
                    for i, box in enumerate(boxes)
                ],
            )
        closed = window.add(20.0, ())
        assert (closed.seats, closed.coverage) == (10, coverage)
