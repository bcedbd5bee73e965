"""Simulated lessons look like a school: people come and go, things break, and the privacy gate is the real one."""

import itertools
import random

from agent import config
from agent.insight import weights
from agent.insight.privacy import Gate
from agent.simulation.lessons import Lessons
from agent.simulation.rooms import Timeline

TABLE = weights.load(weights.DEFAULT)


def _week(trouble: float, seed: int = 1, hours: int = 40) -> list:
    lessons = Lessons(random.Random(seed), TABLE, 60.0, trouble)
    return [lessons.next(60.0 * i) for i in range(60 * hours)]


def test_the_index_moves_but_stays_plausible() -> None:
    """Values spread over some points, inside 30-100, and neighbours are alike."""
    values = [m.window.moods.engagement.value for m in _week(0.0) if m.window.moods]
    assert 30 < min(values) < max(values) <= 100
    assert max(values) - min(values) > 8
    steps = [abs(a - b) for a, b in itertools.pairwise(values)]
    assert sum(steps) / len(steps) < (max(values) - min(values)) / 4


def test_breaks_empty_the_room() -> None:
    """About ten minutes in 55 have fewer than five people: the real gate withholds them."""
    gate = Gate(config.Privacy())
    summaries = [gate(m.window) for m in _week(0.0)]
    withheld = sum(s.suppressed == "k_min" for s in summaries) / len(summaries)
    assert 0.08 < withheld < 0.25
    assert all(s.engagement is None for s in summaries if s.suppressed)
    assert all(s.n_eff >= 5 for s in summaries if s.engagement)


def test_without_trouble_nothing_breaks() -> None:
    """No crash, no lost network, no dark camera."""
    week = _week(0.0)
    assert all(m.window is not None and not m.offline and m.window.trouble is None for m in week)


def test_with_trouble_everything_does() -> None:
    """All three kinds within a week."""
    week = _week(3.0)
    assert any(m.window is None for m in week)
    assert any(m.offline for m in week)
    assert any(m.window and m.window.trouble for m in week)
    assert sum(m.offline for m in week) < len(week) / 4


def test_the_same_seed_gives_the_same_lessons() -> None:
    """And another one others."""
    assert _week(1.0, hours=2) == _week(1.0, hours=2)
    assert _week(1.0, hours=2) != _week(1.0, seed=2, hours=2)


def test_compressed_time_never_passes_the_clock() -> None:
    """It starts in the past, runs fast until it has caught up, and then as fast as everybody's."""
    timeline = Timeline(speed=60, behind_s=3600)
    start = timeline.start
    assert timeline.reached(start + 60) - timeline.reached(start) == 1.0
    caught_up = start + 3600 * 60 / 59
    assert abs(timeline.reached(caught_up + 120) - timeline.reached(caught_up + 60) - 60) < 0.01
