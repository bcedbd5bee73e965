"""The uncertainty of a room's mean: people are sampled, then moments of each person. Pure functions.

Law: people are counted, never frames. Samples of one seat resemble each other; an interval that counts
every one of them as news covers the truth about half of the time (`simulation` shows it).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_T975: Final = (
    12.70620, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814,
    2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596,
    2.07961, 2.07387, 2.06866, 2.06390, 2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227,
)  # fmt: skip
"""0.975 quantile of Student's t for 1 to 30 degrees of freedom."""

_MOST_CORRELATED: Final = 0.98
"""Upper bound of the lag-1 autocorrelation: (1 + r) / (1 - r) stays finite (99) when a seat never changes."""

_MOST_SHARED: Final = 0.5
"""Upper bound of the share of a sample's variance that its seat's mean carries: beyond it, a window is too short
to tell a seat's level from its drift."""

_NOTHING: Final = 1e-9
"""Sum of squares (points²) below which seats count as constant: rounding of float64 stays far below."""


@dataclass(frozen=True, slots=True)
class Within:
    """How one person's score moves within a window, pooled over seats."""

    variance: float
    """Variance of one sample about its seat's level, points²."""
    autocorrelation: float
    """Between one accepted sample of a seat and its next, 0-0.98."""


def t975(degrees: int) -> float:
    """Return the 0.975 quantile of Student's t with `degrees` ≥ 1 degrees of freedom (error below 1e-4).

    Beyond the table: Cornish-Fisher expansion about the normal quantile (Abramowitz & Stegun 26.7.5).
    """
    if degrees < 1:
        raise ValueError(f"expected at least 1 degree of freedom, got {degrees}")
    if degrees <= len(_T975):
        return _T975[degrees - 1]
    z, n = 1.959964, degrees
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def variance_of_mean(seats: Sequence[npt.NDArray[np.float64]], room: int | None) -> float | None:
    """Return V, the variance of the mean over seats as an estimate of the mean over the whole room, points².

    V = (1-f) s_b²/k + (f/k) mean_i[s_w² min(1, (1+r) / ((1-r) m_i))], f = k/N: two-stage sampling of
    people, then moments (Cochran 1977, ch. 10), with the second stage's autocorrelation.

    Parameters
    ----------
    seats : k arrays of shape (m_i,), m_i ≥ 1: scores of one seat in order of time, 0-100 points
    room : N, people in the room, taken as k if it is smaller; None where nobody knows: then f = 0, as if those seen
        were a few of many. Those that a camera does not see differ from those that it sees as people do

    Returns
    -------
    points², or None with fewer than two seats, where people's differences cannot be known
    """
    k = len(seats)
    if k < 2:
        return None
    f = 0.0 if room is None else k / max(room, k)
    between = float(np.var([seat.mean() for seat in seats], ddof=1))
    inner = within(seats)
    inflation = (1 + inner.autocorrelation) / (1 - inner.autocorrelation)
    stage_two = float(np.mean([inner.variance * min(1.0, inflation / seat.size) for seat in seats]))
    return (1 - f) * between / k + f / k * stage_two


def within(seats: Sequence[npt.NDArray[np.float64]]) -> Within:
    """Return the pooled within-seat variance and lag-1 autocorrelation of one sample.

    The lag is from one accepted sample to the next, whatever was missed between: for samples missing at
    random, (1+r)/(1-r) then is the right inflation without knowing how many were missed.

    Deviations are taken from each seat's own mean, which follows its slow drifts; that alone would make both
    numbers too small. With q, the share of a sample's variance that a seat's mean carries, they are short of
    c0 = s²(1-q) and c1 = s²(r-q) (Marriott & Pope 1954), and s², r follow (`_settled`).
    """
    centred = [seat - seat.mean() for seat in seats if seat.size > 1]
    samples = sum(d.size for d in centred)
    squares = sum(float(d @ d) for d in centred)
    if squares <= _NOTHING:
        return Within(0.0, 0.0)
    c0 = squares / samples
    lag1 = sum(float(d[1:] @ d[:-1]) for d in centred) / (samples - len(centred)) / c0
    r = _settled(lag1, samples / len(centred))
    return Within(c0 / (1 - _shared(r, samples / len(centred))), r)


def _settled(lag1: float, size: float) -> float:
    """Return r where r = lag1 (1-q) + q, 0 to `_MOST_CORRELATED`, with q of `_shared`; `size` samples a seat.

    Of several such r it is the first above lag1: what the two, each put into the other, come to from q = 0. Both
    are solved at once, since of few samples they take thousands of rounds.
    """
    start = _bounded(lag1)
    if _bounded(lag1 + (1 - lag1) * _shared(start, size)) <= start:
        return start
    # size r² - (size (1 + lag1) - 1 + lag1) r + size lag1 + 1 - lag1 = 0
    middle = (1 + lag1 - (1 - lag1) / size) / 2
    away = middle**2 - lag1 - (1 - lag1) / size
    r = middle - math.sqrt(away) if away >= 0 else math.inf
    if start <= r < _MOST_CORRELATED and _shared(r, size) < _MOST_SHARED:
        return r
    return _bounded(lag1 + (1 - lag1) * _MOST_SHARED)


def _shared(r: float, size: float) -> float:
    """Return the share of a sample's variance that the mean of a seat with `size` samples carries."""
    return min(_MOST_SHARED, (1 + r) / ((1 - r) * size))


def _bounded(lag1: float) -> float:
    return min(max(lag1, 0.0), _MOST_CORRELATED)


def ci95(mean: float, variance: float, k: int) -> tuple[float, float]:
    """Return the 95 % interval of the index, points, cut to 0-100.

    `variance` is that of `variance_of_mean` plus the variance of any noise that privacy added; k ≥ 2 seats.
    """
    if not (math.isfinite(mean) and math.isfinite(variance) and variance >= 0):
        raise ValueError(f"expected a finite mean and a variance of at least 0, got {mean} and {variance}")
    half = t975(k - 1) * math.sqrt(variance)
    return min(max(mean - half, 0.0), 100.0), max(min(mean + half, 100.0), 0.0)
