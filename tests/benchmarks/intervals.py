"""`python -m tests.benchmarks.intervals`: rooms with a known truth: does the 95 % interval cover it 95 % of the time?

A person's eight log-odds wander about a level of their own (a first-order autoregression); the detector misses
samples, and some seats are never seen. The truth is the mean over all people, seen or not, of what each scores in
the long run. The estimator is the one that the agent runs, where the room's seats are configured (`room_seats`) and
where they are not. Compared with what counting every sample as independent news would claim. Pure functions but for
`main`, which prints.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from agent.calibration.probabilities import softmax
from agent.insight import interval
from agent.insight.engagement import LEAST_SAMPLES, score
from agent.insight.weights import DEFAULT, WeightTable, load

_LEVEL: Final = np.array([2.0, 1.0, 0.0, 0.0, -0.3, -1.5, -0.8, -1.2])
"""Mean log-odds of the eight emotions: mostly neutral, then happiness, as in FERPlus."""
_BETWEEN: Final = 0.8
"""Standard deviation of people's levels, log-odds; gives seats about 12 points apart."""
_WITHIN: Final = 1.2
"""Standard deviation of one person's drift, log-odds; gives samples about 15 points about their level."""
_LONG_RUN: Final = 1000
"""Independent moments whose mean is a person's true score (standard error below 0.5 points a person)."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of room."""

    people: int
    """In the room (N)."""
    detection: float
    """Chance that a visible face gives an accepted sample, 0-1."""
    visible: float = 1.0
    """Chance that a seat can be seen at all, 0-1."""
    memory_s: float = 5.0
    """Time in which an expression's autocorrelation falls to 1/e, seconds."""
    window_s: int = 60
    """Length of the window, seconds, at one sample a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How three intervals fared over many rooms."""

    rooms: int
    """Rooms with at least two seats seen."""
    covered: float
    """Share of rooms whose truth lay in the two-stage interval, 0-1."""
    covered_open: float
    """The same where nobody told how many people are in the room, 0-1."""
    covered_naive: float
    """The same for the interval that takes every sample as independent, 0-1."""
    width: float
    """Mean width of the two-stage interval, points."""
    width_open: float
    """Points."""
    width_naive: float
    """Points."""


GRID: Final = tuple(
    Scenario(people, detection, visible, memory)
    for people in (10, 25)
    for detection in (0.4, 0.65, 0.9)
    for visible in (0.7, 1.0)
    for memory in (2.0, 5.0, 10.0)
)
"""The scenarios that the project's claim is about."""


def simulate(scenario: Scenario, weights: WeightTable, rooms: int, rng: np.random.Generator) -> Outcome:
    """Return how the intervals fared in `rooms` rooms of this kind."""
    fared = [_one_room(scenario, weights, rng) for _ in range(rooms)]
    told = np.array([f for f in fared if f is not None])
    if not len(told):
        raise ValueError(f"expected rooms in which two seats are seen, got none of {rooms} for {scenario}")
    return Outcome(len(told), *map(float, told.mean(axis=0)))


def _one_room(scenario: Scenario, weights: WeightTable, rng: np.random.Generator) -> list[float] | None:
    """Return whether each of three intervals covers the truth, and how wide each is; None with fewer than two seats."""
    levels = _LEVEL + _BETWEEN * rng.standard_normal((scenario.people, 8))
    truth = float(np.mean([_true_score(level, weights, rng) for level in levels]))
    seats = _seen(scenario, levels, weights, rng)
    if len(seats) < 2:
        return None
    value = float(np.mean([seat.mean() for seat in seats]))
    bounds = []
    for room in (scenario.people, None):
        variance = interval.variance_of_mean(seats, room)
        assert variance is not None
        bounds.append(interval.ci95(value, variance, len(seats)))
    naive, half = naive_interval(seats)
    bounds.append((naive - half, naive + half))
    return [float(low <= truth <= high) for low, high in bounds] + [high - low for low, high in bounds]


def naive_interval(seats: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Return (mean, half width) in points of the interval that takes every sample as independent."""
    samples = np.concatenate(seats)
    return float(samples.mean()), 1.96 * float(samples.std(ddof=1)) / math.sqrt(samples.size)


def _true_score(level: npt.NDArray[np.float64], weights: WeightTable, rng: np.random.Generator) -> float:
    """Return the long-run mean score of a person with this level (8,), points."""
    return float(score(softmax(level + _WITHIN * rng.standard_normal((_LONG_RUN, 8))), weights).mean())


def _seen(
    scenario: Scenario, levels: npt.NDArray[np.float64], weights: WeightTable, rng: np.random.Generator
) -> list[npt.NDArray[np.float64]]:
    """Return the accepted scores (m_i,) of the seats with enough of them."""
    drift = _drift(len(levels), scenario.window_s, math.exp(-1 / scenario.memory_s), rng)
    probabilities = softmax(levels[:, np.newaxis] + _WITHIN * drift)
    visible = rng.random(len(levels)) < scenario.visible
    accepted = (rng.random(drift.shape[:2]) < scenario.detection) & visible[:, np.newaxis]
    seats = [score(p[a], weights) for p, a in zip(probabilities, accepted, strict=True)]
    return [seat for seat in seats if seat.size >= LEAST_SAMPLES]


def _drift(people: int, moments: int, r: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return autoregressions of variance 1: float64 array of shape (people, moments, 8)."""
    steps = rng.standard_normal((people, moments, 8))
    for t in range(1, moments):
        steps[:, t] = r * steps[:, t - 1] + math.sqrt(1 - r * r) * steps[:, t]
    return steps


BAR: Final = (0.93, 0.99)
"""Where the coverage of the nominal 95 % interval must lie, each scenario. Where the room's seats are not configured,
only the lower bound is asked for: the interval then allows for people whom nobody saw, also where there are none."""


@click.command(epilog="Example: python -m tests.benchmarks.intervals --rooms 2000")
@click.option("--rooms", type=click.IntRange(10), default=1000, show_default=True, help="Rooms a scenario.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--weights", "name", default=DEFAULT, show_default=True, help="Id or TOML file of a weight table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a scenario on stdout.")
def main(rooms: int, seed: int, name: str, as_json: bool) -> None:
    """Print how often each interval covered the truth; exit 1 where the two-stage one is outside 93-99 %.

    "seats": of the room are configured; "open": they are not, where 93 % is enough.
    """
    table, missed, naive = load(name), 0, []
    if not as_json:
        click.echo(
            "people detected visible memory   rooms   seats    open   naive  width   open  naive   (of 95 %; points)"
        )
    for number, scenario in enumerate(GRID):
        got = simulate(scenario, table, rooms, np.random.default_rng((seed, number)))
        within = BAR[0] <= got.covered <= BAR[1] and BAR[0] <= got.covered_open
        missed += not within
        naive.append(got.covered_naive)
        if as_json:
            click.echo(json.dumps({**asdict(scenario), **asdict(got), "within": within}))
        else:
            click.echo(_line(scenario, got) + ("" if within else "  OUTSIDE 93-99 %"))
    click.echo(f"{missed} of {len(GRID)} outside; the naive interval covered {np.mean(naive):.0%} on average", err=True)
    if missed:
        sys.exit(1)


def _line(scenario: Scenario, got: Outcome) -> str:
    return (
        f"{scenario.people:>6} {scenario.detection:>8.0%} {scenario.visible:>7.0%} {scenario.memory_s:>5.0f}s "
        f"{got.rooms:>7} {got.covered:>7.1%} {got.covered_open:>7.1%} {got.covered_naive:>7.1%} "
        f"{got.width:>6.1f} {got.width_open:>6.1f} {got.width_naive:>6.1f}"
    )


if __name__ == "__main__":
    main()
