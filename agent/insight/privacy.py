"""The privacy gate: a measured `Window` goes in, a `Summary` that may be published comes out. The only way out.

Law: in doubt the window is sent with `suppressed` and without a result. Nothing here is kept between windows but
the day's budget.
"""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from agent import config
from agent.insight.budget import Budget, MemoryBudget
from agent.insight.noise import RandBelow, discrete_laplace, variance
from agent.records import Engagement, Moods, Noise, Summary, Window

MECHANISM: Final = "discrete-laplace/1"
_STEPS: Final = 100
"""Grid of the noised sum: steps per point of the index."""
_SHARE_UNITS: Final = 20
"""Shares are published in units of 1/20 = 0.05."""
_UNIFORM_VARIANCE: Final = 100**2 / 12
"""points²: spread of seats that lie evenly over the whole scale. The strict interval takes this constant, not the
room's own spread: that is data about people, and ε pays for the value alone."""
_QUANTILE: Final = math.log(20) / math.sqrt(2)
"""Half a 95 % interval of Laplace noise in standard deviations (2.12); above the normal's 1.96, so safe for sums."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a window must fulfil, and what of it may leave."""

    name: str
    window_s: float
    """Window length unless configured, seconds."""
    k_min: int
    """Fewest people behind a result."""
    epsilon: Fraction | None
    """Privacy loss of one window; None adds no noise and publishes every output, rounded."""


PROFILES: Final = {
    "standard": Profile("standard", 60.0, 5, None),
    "strict": Profile("strict", 300.0, 10, Fraction(1)),
}


def window_seconds(settings: config.Settings) -> float:
    """Length of a window, seconds: the configured one, else the profile's."""
    return settings.engagement.window_s or PROFILES[settings.privacy.profile].window_s


def least_people(privacy: config.Privacy) -> int:
    """Fewest people behind a result: the configured number, else the profile's."""
    return privacy.k_min or PROFILES[privacy.profile].k_min


class Gate:
    """Callable `gate(window) -> Summary`; single-threaded.

    settings: the [privacy] section; `policy.check_policy` has refused a lowered k_min for a live camera.
    budget: counts noised results (profile strict); unset forgets with the process, which only video files may.
    blocked: why sensing is off right now ("paused", "schedule"), or None; a window that ends then has no result.
    below: random integers for the noise.
    """

    def __init__(
        self,
        settings: config.Privacy,
        *,
        budget: Budget | None = None,
        blocked: Callable[[], str | None] = lambda: None,
        below: RandBelow = secrets.randbelow,
    ) -> None:
        self.profile: Final = PROFILES[settings.profile]
        self.k_min: Final = least_people(settings)
        self._budget = budget or MemoryBudget()
        self._blocked = blocked
        self._below = below

    def __call__(self, window: Window) -> Summary:
        """Return what may be published of `window`."""
        if len(window.person_scores) < self.k_min:
            # How many there are is public; how much of the time so few were turned to the camera is theirs, also in a
            # room whose seats the configuration counts.
            window = replace(window, contributing=0, coverage=0.0)
        moods = window.moods
        reason = self._blocked() or window.trouble or self._unfit(window)
        if reason is not None or moods is None:
            return _summary(window, self.profile, reason or "k_min")
        if self.profile.epsilon is None:
            return _rounded(window, self.profile, moods)
        spent = self._budget.spend()
        if spent is None:
            return _summary(window, self.profile, "budget")
        return self._noised(window, moods.engagement.weights_id, self.profile.epsilon, spent)

    def _unfit(self, window: Window) -> str | None:
        if len(window.person_scores) < self.k_min or window.moods is None:
            return "k_min"
        return None if _finite(window, window.moods) else "invalid"

    def _noised(self, window: Window, weights_id: str, epsilon: Fraction, spent: int) -> Summary:
        """The index alone, with noise on the sum of the people's scores.

        Neighbours are two rooms that differ in the expressions of somebody who has one place, or places that are one
        group for `people.certain`; how many people there are is public. All of that is in one of the scores, so the
        sum changes by at most the whole scale. Whoever also sits where somebody else sat in the same window is in the
        scores of several groups, and moves the sum by up to one scale for each.
        """
        steps = [round(min(max(score, 0.0), 100.0) * _STEPS) for score in window.person_scores]
        k, scale = len(steps), 100 * _STEPS / epsilon
        noised = sum(steps) + discrete_laplace(scale, self._below)
        value = min(max(float(round(Fraction(noised, k * _STEPS))), 0.0), 100.0)
        half = _QUANTILE * math.sqrt(_UNIFORM_VARIANCE / k + variance(scale) / (k * _STEPS) ** 2)
        engagement = Engagement(value, _outward(value - half, value + half), None, weights_id)
        noise = Noise(float(epsilon), MECHANISM, float(epsilon * spent))
        return _summary(replace(window, contributing=k), self.profile, None, engagement=engagement, noise=noise)


def _finite(window: Window, moods: Moods) -> bool:
    e = moods.engagement
    numbers = (e.value, *(e.ci95 or ()), e.delta or 0.0, moods.valence, moods.arousal, moods.expressivity)
    return all(map(math.isfinite, (*numbers, *moods.shares, *window.person_scores))) and sum(moods.shares) > 0


def _summary(
    window: Window,
    profile: Profile,
    suppressed: str | None,
    *,
    engagement: Engagement | None = None,
    moods: Moods | None = None,
    noise: Noise | None = None,
) -> Summary:
    """What every window says, and the result if there is one. `moods` must be rounded already."""
    grid = 100 if profile.epsilon is None else _SHARE_UNITS
    return Summary(
        start=window.start,
        end=window.end,
        frames=window.frames,
        seats=window.seats,
        n_eff=float(window.contributing),
        coverage=round(window.coverage * grid) / grid,
        suppressed=suppressed,
        engagement=moods.engagement if moods else engagement,
        valence=moods.valence if moods else None,
        arousal=moods.arousal if moods else None,
        expressivity=moods.expressivity if moods else None,
        shares=moods.shares if moods else None,
        noise=noise,
        partial=window.partial,
    )


def _rounded(window: Window, profile: Profile, moods: Moods) -> Summary:
    """Every output, rounded so that none gives back what the rounding of another hid."""
    e, shares = moods.engagement, rounded_shares(moods.shares)
    value = float(round(e.value))
    ci95 = None if e.ci95 is None else _outward(min(e.ci95[0], value), max(e.ci95[1], value))
    # A baseline is one fixed number: rounded by itself it cannot tell the value's decimals.
    delta = None if e.delta is None else value - round(e.value - e.delta)
    rounded = Moods(
        engagement=Engagement(value, ci95, delta, e.weights_id),
        valence=_to_units(moods.valence),
        arousal=_to_units(moods.arousal),
        expressivity=100.0 - round(100 * shares[0]),
        shares=shares,
    )
    return _summary(window, profile, None, moods=rounded)


def _to_units(value: float) -> float:
    return round(value * _SHARE_UNITS) / _SHARE_UNITS


def _outward(low: float, high: float) -> tuple[float, float]:
    """An interval in whole points that contains the given one, within 0-100."""
    return float(max(math.floor(low), 0)), float(min(math.ceil(high), 100))


def rounded_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Shares in units of 0.05 that still sum to 1: largest remainders round up, the first label wins a tie.

    Plain rounding would sum to 0.9 … 1.1. Each share moves by less than 0.05, and a share of 0 stays 0.
    """
    exact = [share / sum(shares) * _SHARE_UNITS for share in shares]
    units = [math.floor(e) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: units[i] - exact[i])
    for i in by_remainder[: _SHARE_UNITS - sum(units)]:
        units[i] += 1
    return tuple(u / _SHARE_UNITS for u in units)
