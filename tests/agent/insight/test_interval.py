"""The two-stage interval covers a known truth as often as it says."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

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


def test_one_seat_has_no_interval() -> None:
    """With one seat people's differences cannot be known: no variance, no NaN."""
    assert interval.variance_of_mean([np.arange(10.0)], 20) is None


def test_constant_seats_have_a_finite_variance() -> None:
    """Seats that never change do not divide by zero."""
    assert interval.variance_of_mean([np.full(9, 50.0)] * 4, 4) == 0


def test_quantile_of_t_is_continuous_beyond_its_table() -> None:
    """Known quantiles: 30 (table) 2.0423, 31 (expansion) 2.0395, 1000 1.9623."""
    assert [interval.t975(d) for d in (30, 31, 1000)] == pytest.approx([2.0423, 2.0395, 1.9623], abs=1e-4)


def test_the_command_prints_every_scenario() -> None:
    """`python -m tests.benchmarks.intervals` gives coverage and width of both intervals for each of 36 scenarios."""
    done = CliRunner().invoke(intervals.main, ["--rooms", "10", "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(intervals.GRID) == 36
    assert {(row["people"], row["detection"]) for row in rows} == {(n, d) for n in (10, 25) for d in (0.4, 0.65, 0.9)}
    assert all(0 <= row["covered"] <= 1 and row["width"] > row["width_naive"] > 0 for row in rows)
