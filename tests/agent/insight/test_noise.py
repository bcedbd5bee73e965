"""The noise is exactly the discrete Laplace distribution, by theory and by another implementation."""

import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from agent.insight.noise import discrete_laplace, variance


def probability(n: int, scale: float) -> float:
    """P(n) of the discrete Laplace distribution, from its definition."""
    return math.tanh(0.5 / scale) * math.exp(-abs(n) / scale)


def chi2_limit(degrees: int) -> float:
    """The 0.9999 quantile of chi-squared (Wilson & Hilferty 1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.719 * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(1), Fraction(7, 3), Fraction(10)])
def test_frequencies_fit_the_distribution(scale: Fraction) -> None:
    """20,000 samples fit P(n) ∝ e^(-|n|/scale) by a chi-squared test at 1 in 10,000."""
    below, n = random.Random(20).randrange, 20_000
    seen = Counter(discrete_laplace(scale, below) for _ in range(n))
    common = [v for v in range(-200, 201) if n * probability(v, float(scale)) >= 10]
    expected = [n * probability(v, float(scale)) for v in common]
    got = [seen[v] for v in common]
    rest, rest_seen = n - sum(expected), n - sum(got)
    statistic = sum((g - e) ** 2 / e for g, e in zip(got, expected, strict=True)) + (rest_seen - rest) ** 2 / rest
    assert statistic < chi2_limit(len(common))


def test_the_test_above_can_fail() -> None:
    """Counting zero twice, the classic mistake, is far outside that limit."""
    scale, n, below = 1.0, 20_000, random.Random(20).randrange
    zeros = sum(discrete_laplace(Fraction(1), below) == 0 for _ in range(n))
    mistaken = 2 * probability(0, scale) / (1 + probability(0, scale))
    assert abs(zeros / n - probability(0, scale)) < 0.02 < abs(mistaken - probability(0, scale))


def test_variance_is_that_of_the_samples() -> None:
    """The variance that the interval uses is the samples' own at the scale of the strict profile."""
    scale, below = Fraction(10_000), random.Random(3).randrange
    samples = np.array([discrete_laplace(scale, below) for _ in range(20_000)], dtype=float)
    assert variance(scale) == pytest.approx(2 * 10_000**2, rel=1e-6)
    assert samples.var() == pytest.approx(variance(scale), rel=0.08)
    assert abs(samples.mean()) < 4 * math.sqrt(variance(scale) / samples.size)


def test_one_step_changes_any_probability_by_at_most_e_to_epsilon() -> None:
    """The privacy claim itself: shifting the input by the sensitivity changes no output's odds by more than e^ε."""
    sensitivity, epsilon, n, below = 4, 1.0, 40_000, random.Random(5).randrange
    scale = Fraction(sensitivity) / Fraction(epsilon)
    here = Counter(discrete_laplace(scale, below) for _ in range(n))
    there = Counter(sensitivity + discrete_laplace(scale, below) for _ in range(n))
    likely = [v for v in here if here[v] > 400 and there[v] > 400]
    worst = max(abs(math.log(here[v] / there[v])) for v in likely)
    assert len(likely) > 8
    assert 0.8 < worst < epsilon + 0.25, "loose enough for 400 counts; 0.8: the noise is not needlessly large"


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1)])
def test_no_scale_no_sample(scale: Fraction) -> None:
    """A scale that is not positive is refused, not turned into "no noise"."""
    with pytest.raises(ValueError, match="expected a positive scale"):
        discrete_laplace(scale, random.Random(0).randrange)


def test_agrees_with_opendp() -> None:
    """OpenDP's own sampler of the same distribution gives the same frequencies (two-sample chi-squared)."""
    dp = pytest.importorskip("opendp.prelude", reason="opendp is not installed (development only)")
    dp.enable_features("contrib")
    scale, n, below = 3, 20_000, random.Random(11).randrange
    measure = dp.m.make_laplace(dp.atom_domain(T=int), dp.absolute_distance(T=int), scale=float(scale))
    theirs = Counter(measure(0) for _ in range(n))
    ours = Counter(discrete_laplace(Fraction(scale), below) for _ in range(n))
    common = [v for v in range(-100, 101) if theirs[v] + ours[v] >= 20]
    statistic = sum((theirs[v] - ours[v]) ** 2 / (theirs[v] + ours[v]) for v in common)
    assert statistic < chi2_limit(len(common))
