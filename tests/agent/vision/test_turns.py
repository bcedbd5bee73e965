"""Whose turn it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.records import Box
from agent.vision.turns import FORGET_S, LONGEST_WAIT_S, Turns


def row(count):
    """Return `count` faces side by side."""
    return [Box(60.0 * i, 100, 40, 40) for i in range(count)]


@settings(max_examples=40)
@given(count=st.integers(1, 60), budget=st.integers(1, 40), fps=st.sampled_from([0.5, 1, 2, 5, 10]))
def test_every_face_has_its_turn(count, budget, fps):
    """Every face is classified at least every 2 s (or in every frame, if frames are rarer), whatever the budget."""
    turns, last, rng = Turns(budget), np.zeros(count), np.random.default_rng(0)
    for frame in range(round(8 * fps) + 2):
        at = frame / fps
        order = rng.permutation(count)
        chosen = turns.choose(at, [row(count)[i] for i in order])
        last[order[chosen]] = at
        assert (at - last).max() <= max(LONGEST_WAIT_S, 1 / fps) + 1e-9


def test_the_budget_holds_where_it_can():
    """Forty faces at 5 frames a second with a budget of 8: eight a frame, never more."""
    turns = Turns(8)
    counts = [len(turns.choose(frame / 5, row(40))) for frame in range(50)]
    assert set(counts) == {8}


def test_the_longest_waiting_goes_first():
    """Within the budget, faces go in turn: four faces and a budget of two alternate."""
    turns = Turns(2)
    seen = [tuple(turns.choose(frame / 10, row(4))) for frame in range(4)]
    assert seen[0] == seen[2] != seen[1] == seen[3]
    assert set(seen[0]) | set(seen[1]) == {0, 1, 2, 3}


@pytest.mark.parametrize(("count", "budget"), [(30, 8), (25, 8), (7, 3)])
def test_nobody_has_more_turns_than_others(count, budget):
    """A budget that does not divide the faces is not spent on the same ones in every round: counts differ by one."""
    turns = Turns(budget)
    looks = np.zeros(count)
    for frame in range(300):
        looks[turns.choose(frame / 5, row(count))] += 1
    assert np.ptp(looks) <= 1


@pytest.mark.parametrize("jump", [-100.0, 0.0])
def test_time_that_stands_or_goes_back(jump):
    """A clock that stands still or is set back still gives every face a turn."""
    turns = Turns(3)
    turns.choose(1000.0, row(3))
    chosen = [turns.choose(1000.0 + jump, row(6)) for _ in range(2)]
    assert set(chosen[0]) | set(chosen[1]) == set(range(6))


def test_places_are_forgotten():
    """Faces that are gone leave nothing behind after ten seconds."""
    turns = Turns(4)
    turns.choose(0.0, row(50))
    turns.choose(FORGET_S + 1, row(1))
    assert len(turns._places) == 1
