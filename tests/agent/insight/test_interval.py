"""The two-stage interval covers a known truth as often as it says."""

import json
import math
from itertools import pairwise
from statistics import fmean, variance

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from agent.insight import interval, weights
from tests.benchmarks import intervals


@pytest.mark.parametrize("people", [10, 25])
@pytest.mark.parametrize("detection", [0.4, 0.9])
def test_interval_covers_the_truth(people: int, detection: float) -> None:
    """Nominal 95 % covers 93-99 % of rooms (a seeded 400 of them), where the per-frame interval covers below 80 %."""
    scenario = intervals.Scenario(people, detection, visible=0.85)
    told = intervals.simulate(scenario, weights.load(weights.DEFAULT), 400, np.random.default_rng(7))
    assert 0.93 <= told.covered <= 0.99
    assert told.covered_naive < 0.8


_SCORES = st.lists(st.floats(0, 100), min_size=1, max_size=9).map(np.array)
_SEATS = st.lists(_SCORES, min_size=2, max_size=5)


@given(seats=_SEATS, room=st.none() | st.integers(1, 9))
def test_the_variance_is_the_formula(seats: list[np.ndarray], room: int | None) -> None:
    """V = (1-f) s_b²/k + (f/k) mean_i[s_w² min(1, (1+r) / ((1-r) m_i))]; f = k/N, 1 where N is too small, 0 without."""
    k, inner = len(seats), interval.within(seats)
    f = 0.0 if room is None else min(1.0, k / room)
    rise = (1 + inner.autocorrelation) / (1 - inner.autocorrelation)
    moments = fmean(inner.variance * min(1, rise / len(seat)) for seat in seats)
    v = (1 - f) * variance([fmean(seat) for seat in seats]) / k + f * moments / k
    assert interval.variance_of_mean(seats, room) == pytest.approx(v, abs=1e-9)


@given(seats=_SEATS)
@example(seats=[np.linspace(0, 100, 300), np.linspace(100, 0, 300)])  # as correlated as it may be
@example(seats=[np.array([0.0]), np.array([0.0, 37.59375, 27.5625])])  # by rounds this would take hundreds
def test_moments_are_set_right_for_the_seats_own_means(seats: list[np.ndarray]) -> None:
    """c0 = s²(1-q) and c1 = s²(r-q) with q = (1+r) / ((1-r) m), at most a half: the pooled moments of all deviations
    from the means of seats with two samples or more; r is 0 to 0.98."""
    away = [[x - fmean(seat) for x in seat] for seat in seats if len(seat) > 1]
    squares, samples = sum(x * x for d in away for x in d), sum(map(len, away))
    inner = interval.within(seats)
    if squares <= 1e-9:
        assert inner == interval.Within(0.0, 0.0)
        return
    lag1 = sum(x * y for d in away for x, y in pairwise(d)) / (samples - len(away)) / (squares / samples)
    r = inner.autocorrelation
    q = min(0.5, (1 + r) / (1 - r) * len(away) / samples)
    assert inner.variance * (1 - q) == pytest.approx(squares / samples, rel=0.005)
    assert r == pytest.approx(min(max(lag1 * (1 - q) + q, 0), 0.98), rel=0.005)


def test_an_interval_needs_people_and_numbers() -> None:
    """No quantile without a degree of freedom; no interval of a mean or a variance that is none."""
    with pytest.raises(ValueError, match="at least 1 degree of freedom, got 0"):
        interval.t975(0)
    for mean, spread in ((np.nan, 1.0), (50.0, np.inf), (50.0, -1e-3)):
        with pytest.raises(ValueError, match="expected a finite mean and a variance of at least 0"):
            interval.ci95(mean, spread, 5)
    assert interval.ci95(50.0, 0.0, 2) == (50.0, 50.0)


def test_one_seat_has_no_interval() -> None:
    """With one seat people's differences cannot be known: no variance, no NaN."""
    assert interval.variance_of_mean([np.arange(10.0)], 20) is None


def test_constant_seats_have_a_finite_variance() -> None:
    """Seats that never change do not divide by zero."""
    assert interval.variance_of_mean([np.full(9, 50.0)] * 4, 4) == 0


@pytest.mark.parametrize("degrees", [*range(1, 41), 100, 1000])
def test_19_in_20_lie_within_the_quantile(degrees: int) -> None:
    """Student's density, integrated between minus and plus the quantile, is 95 %: in the table and beyond."""
    x = np.linspace(0, interval.t975(degrees), 20_001)
    density = (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    inside = scale * (density[1:] + density[:-1]).sum() * x[1]  # twice the half, by trapezoids
    assert inside == pytest.approx(0.95, abs=1e-5)


def test_the_command_prints_every_scenario() -> None:
    """`python -m tests.benchmarks.intervals` gives coverage and width of both intervals for each of 36 scenarios."""
    done = CliRunner().invoke(intervals.main, ["--rooms", "10", "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(intervals.GRID) == 36
    assert {(row["people"], row["detection"]) for row in rows} == {(n, d) for n in (10, 25) for d in (0.4, 0.65, 0.9)}
    assert all(0 <= row["covered"] <= 1 and row["width"] > row["width_naive"] > 0 for row in rows)
