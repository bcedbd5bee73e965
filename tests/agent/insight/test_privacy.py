"""The privacy gate: what may leave a window, and what may not."""

import dataclasses
import math
import random
from datetime import date
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Privacy, Settings
from agent.insight.budget import WINDOWS_A_DAY, MemoryBudget
from agent.insight.noise import discrete_laplace
from agent.insight.privacy import Gate, rounded_shares, window_seconds
from agent.records import Engagement, Moods, Summary, Window

SHARES = (0.31, 0.19, 0.11, 0.09, 0.12, 0.08, 0.06, 0.04)


def moods(value: float = 61.4, shares: tuple[float, ...] = SHARES) -> Moods:
    return Moods(Engagement(value, (50.2, 70.1), 3.3, "w/1"), 0.13, 0.22, 69.0, shares)


def window(k: int = 12, *, score: float = 60.0, **changes: object) -> Window:
    base = Window(0.0, 60.0, 60, k, k, 0.934, moods() if k else None, person_scores=(score,) * k)
    return dataclasses.replace(base, **changes)


def strict(seed: int = 1, **options: object) -> Gate:
    return Gate(Privacy(profile="strict"), below=random.Random(seed).randrange, **options)


def results(summary: Summary) -> list[object]:
    return [
        value
        for name in ("engagement", "valence", "arousal", "expressivity", "shares", "noise")
        if (value := getattr(summary, name)) is not None
    ]


@pytest.mark.parametrize(("profile", "k_min"), [("standard", 5), ("strict", 10)])
def test_fewer_people_than_k_min_give_no_result(profile: str, k_min: int) -> None:
    """One person fewer than the profile's k_min: suppressed, no result; exactly k_min: a result."""
    gate = Gate(Privacy(profile=profile))
    assert gate(window(k_min - 1)).suppressed == "k_min"
    assert results(gate(window(k_min - 1))) == []
    assert gate(window(k_min)).suppressed is None


def test_people_who_do_not_contribute_do_not_count() -> None:
    """Ten people seen of whom four gave enough samples are four people behind the result."""
    assert Gate(Privacy())(window(4, seats=10)).suppressed == "k_min"


@pytest.mark.parametrize("gate", [Gate(Privacy()), strict()], ids=["standard", "strict"])
@pytest.mark.parametrize("blocked", [{}, {"trouble": "camera"}], ids=["k_min", "trouble"])
def test_what_fewer_people_than_k_min_did_stays(gate: Gate, blocked: dict) -> None:
    """How much of the time one person was turned to the camera is about that person: one sees how many there are."""
    seen = [gate(window(1, coverage=coverage, contributing=k, **blocked)) for coverage, k in ((0.38, 1), (0.91, 0))]
    assert seen[0] == seen[1]
    assert (seen[0].seats, seen[0].n_eff, seen[0].coverage) == (1, 0.0, 0.0)


@pytest.mark.parametrize("gate", [Gate(Privacy()), strict()], ids=["standard", "strict"])
def test_seats_of_the_configuration_hide_nobody(gate: Gate) -> None:
    """One person in a room of thirty seats (`room_seats`) is one person: nothing of theirs is told either."""
    seen = [gate(window(1, coverage=coverage, contributing=k)) for coverage, k in ((0.01, 0), (0.03, 1))]
    assert [(s.suppressed, s.seats, s.n_eff, s.coverage) for s in seen] == [("k_min", 1, 0.0, 0.0)] * 2


def test_k_min_can_be_raised() -> None:
    """privacy.k_min = 8 suppresses seven people."""
    gate = Gate(Privacy(k_min=8))
    assert (gate(window(7)).suppressed, gate(window(8)).suppressed) == ("k_min", None)


def test_strict_counts_the_scores_that_it_noises() -> None:
    """A window that claims more people than it has scores for is suppressed: the noise is scaled to the scores."""
    assert strict()(window(12, person_scores=(60.0,) * 3)).suppressed == "k_min"


@pytest.mark.parametrize("reason", ["camera.frozen", "camera.black"])
def test_trouble_gives_the_reason_and_no_result(reason: str) -> None:
    """A window that the camera spoiled carries the camera's reason code, not a number."""
    summary = Gate(Privacy())(window(trouble=reason))
    assert (summary.suppressed, results(summary)) == (reason, [])


def test_a_pause_suppresses_the_window_that_it_cuts() -> None:
    """When sensing is off at the end of a window, what was measured before the pause is not published either."""
    off: list[str | None] = [None]
    gate = Gate(Privacy(), blocked=lambda: off[0])
    assert gate(window()).suppressed is None
    off[0] = "paused"
    assert (gate(window()).suppressed, results(gate(window()))) == ("paused", [])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_never_leave(bad: float) -> None:
    """A NaN or an infinity anywhere in a window suppresses it as invalid in both profiles, without an exception."""
    for gate in (Gate(Privacy()), strict()):
        assert gate(window(12, score=bad)).suppressed == "invalid"
        for name in ("value", "ci95", "delta"):
            changed = {name: (50.0, bad) if name == "ci95" else bad}
            e = dataclasses.replace(moods().engagement, **changed)
            assert gate(window(moods=dataclasses.replace(moods(), engagement=e))).suppressed == "invalid", name
        for name in ("valence", "arousal", "expressivity", "shares"):
            changed = {name: (*SHARES[:7], bad) if name == "shares" else bad}
            assert gate(window(moods=dataclasses.replace(moods(), **changed))).suppressed == "invalid", name
        assert gate(window(moods=moods(shares=(0.0,) * 8))).suppressed == "invalid"


def test_standard_rounds_every_output() -> None:
    """Index, interval and delta in whole points, shares, valence and arousal in 0.05, expressivity from the shares."""
    summary = Gate(Privacy())(window())
    assert summary.engagement == Engagement(61.0, (50.0, 71.0), 3.0, "w/1")
    assert (summary.valence, summary.arousal) == (0.15, 0.2)
    assert summary.shares == (0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05)
    assert summary.expressivity == 70.0
    assert summary.noise is None


def test_expressivity_is_what_is_not_neutral() -> None:
    """It tells no more than the rounded shares: 100 less the neutral one's percent, for each of its 21 values."""
    for percent in range(0, 101, 5):
        summary = Gate(Privacy())(window(moods=moods(shares=(percent / 100, 1 - percent / 100, *(0.0,) * 6))))
        assert summary.expressivity == 100 - percent


def test_coverage_is_rounded_as_the_profile_says() -> None:
    """To whole percent in profile standard, to five in strict."""
    assert [gate(window(coverage=0.934)).coverage for gate in (Gate(Privacy()), strict())] == [0.93, 0.95]


@given(st.floats(0, 100), st.floats(0, 100))
def test_delta_does_not_give_back_the_decimals(value: float, baseline: float) -> None:
    """value - delta is the baseline in whole points: the same whatever decimals the value had."""
    measured = Moods(Engagement(value, (value, value), value - baseline, "w/1"), 0, 0, 0, SHARES)
    published = Gate(Privacy())(window(moods=measured)).engagement
    assert published is not None
    assert published.delta is not None
    assert published.value - published.delta == pytest.approx(baseline, abs=0.5 + 1e-9)
    assert float(published.value).is_integer()
    assert float(published.delta).is_integer()


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda s: sum(s) > 1e-3))
def test_rounded_shares_are_shares(raw: list[float]) -> None:
    """For any shares: multiples of 0.05 that sum to 1, each less than 0.05 from the truth, and 0 stays 0."""
    exact = tuple(v / sum(raw) for v in raw)
    rounded = rounded_shares(exact)
    assert sum(rounded) == pytest.approx(1, abs=1e-12)
    assert all((20 * r).is_integer() for r in rounded)
    assert all(abs(r - e) < 0.05 + 1e-9 for r, e in zip(rounded, exact, strict=True))
    assert all(r == 0 for r, e in zip(rounded, exact, strict=True) if e == 0)


def test_the_interval_still_contains_the_value() -> None:
    """Rounding outward never leaves the value outside its interval, at the ends of the scale included."""
    for value, interval in ((99.6, (99.55, 99.7)), (0.4, (0.35, 0.45)), (50.5, (50.5, 50.5))):
        e = Gate(Privacy())(window(moods=Moods(Engagement(value, interval, None, "w/1"), 0, 0, 0, SHARES))).engagement
        assert e is not None
        assert e.ci95 is not None
        assert 0 <= e.ci95[0] <= e.value <= e.ci95[1] <= 100


def test_strict_publishes_the_index_alone() -> None:
    """No shares, valence, arousal, expressivity or delta, in whole points, with ε declared."""
    summary = strict()(window())
    assert summary.engagement is not None
    assert summary.engagement.delta is None
    assert summary.engagement.value.is_integer()
    assert (summary.valence, summary.arousal, summary.expressivity, summary.shares) == (None,) * 4
    assert summary.noise is not None
    assert (summary.noise.epsilon, summary.noise.mechanism, summary.noise.spent_today) == (1, "discrete-laplace/1", 1)


def test_strict_uses_only_the_scores_and_their_number() -> None:
    """The same noise on the same scores gives the same result whatever else the window measured: nothing but the
    noised mean depends on expressions, the interval's width included."""
    calm, wild = window(12), window(12, moods=moods(5.0, (0.0,) * 7 + (1.0,)), coverage=0.934)
    assert strict(4)(calm) == strict(4)(wild)
    spread = window(12, person_scores=(0.0, 100.0) * 6)
    even = window(12, person_scores=(50.0,) * 12)
    assert strict(9)(spread) == strict(9)(even), "the same sum, the same interval: the spread is not told"


@pytest.mark.parametrize("score", [1.0, 43.7, 99.0])
@pytest.mark.parametrize("k", [10, 27])
def test_strict_adds_the_noise_of_one_whole_scale(k: int, score: float) -> None:
    """On the sum of k scores, in hundredths: Laplace noise of 100 points / ε. The interval is ln 20 / √2 deviations of
    that noise and of k seats that lie evenly over the scale; all of it in whole points of the scale, outward."""
    half = math.log(20) / math.sqrt(2) * math.sqrt(100**2 / 12 / k + 2 * (100 / k) ** 2)
    for seed in range(40):
        noise = discrete_laplace(Fraction(100 * 100), random.Random(seed).randrange)
        value = min(max(round(score + noise / 100 / k), 0), 100)
        e = strict(seed)(window(k, score=score)).engagement
        assert e is not None
        assert (e.value, e.ci95) == (value, (max(math.floor(value - half), 0), min(math.ceil(value + half), 100)))


def test_strict_noise_has_the_promised_size() -> None:
    """Over 3,000 windows of 25 people the published mean is unbiased and spreads like Laplace noise of 100 / (ε·k)."""
    gate = strict(7, budget=Endless())
    values = [gate(window(25, score=50.0)).engagement.value for _ in range(3000)]  # type: ignore[union-attr]
    sigma = math.sqrt(2) * 100 / 25
    assert np.mean(values) == pytest.approx(50, abs=4 * sigma / math.sqrt(3000))
    assert np.std(values) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(("k", "spread"), [(10, "uniform"), (25, "uniform"), (25, "two camps"), (100, "uniform")])
def test_strict_interval_covers_the_room_it_was_drawn_from(k: int, spread: str) -> None:
    """The interval contains the mean of the population in at least 94.5 % of 2,000 simulated windows."""
    draw, gate, hits = np.random.default_rng(k), strict(k, budget=Endless()), 0
    for _ in range(2000):
        scores = draw.uniform(0, 100, k) if spread == "uniform" else np.where(draw.random(k) < 0.5, 25.0, 75.0)
        e = gate(window(k, person_scores=tuple(scores))).engagement
        assert e is not None
        assert e.ci95 is not None
        hits += e.ci95[0] <= 50 <= e.ci95[1]
    assert hits / 2000 >= 0.945


class Endless:
    """A budget without an end, to look at many windows."""

    def spend(self) -> int:
        return 1


def test_scores_outside_the_scale_cannot_shift_the_mean_further() -> None:
    """A score of a million counts as 100: one person cannot move the sum by more than the noise covers."""
    huge = window(12, person_scores=(1e6,) + (0.0,) * 11)
    full = window(12, person_scores=(100.0,) + (0.0,) * 11)
    assert strict(2)(huge) == strict(2)(full)


def test_the_budget_closes_after_twelve_windows_and_opens_the_next_day() -> None:
    """The thirteenth noised result of a day is suppressed as "budget"; the next day has its own twelve."""
    today = [date(2026, 3, 2)]
    gate = strict(budget=MemoryBudget(lambda: today[0]))
    spent = [gate(window()).noise.spent_today for _ in range(WINDOWS_A_DAY)]  # type: ignore[union-attr]
    assert spent == [float(i) for i in range(1, 13)]
    assert (gate(window()).suppressed, results(gate(window()))) == ("budget", [])
    today[0] = date(2026, 3, 3)
    assert gate(window()).suppressed is None


def test_a_suppressed_window_costs_nothing() -> None:
    """Windows below k_min or with trouble take nothing from the day's budget."""
    gate = strict()
    for _ in range(50):
        gate(window(3))
        gate(window(trouble="camera.black"))
    noise = gate(window()).noise
    assert noise is not None
    assert noise.spent_today == 1


def test_a_clock_set_back_keeps_the_budget_closed() -> None:
    """After results of tomorrow the gate stays closed until the clock has caught up."""
    today = [date(2026, 3, 3)]
    gate = strict(budget=MemoryBudget(lambda: today[0]))
    assert gate(window()).suppressed is None
    today[0] = date(2026, 3, 2)
    assert gate(window()).suppressed == "budget"


def test_the_profile_sets_the_window() -> None:
    """60 s, 300 s in profile strict, unless configured."""
    assert window_seconds(Settings()) == 60
    assert window_seconds(Settings(privacy={"profile": "strict"})) == 300
    assert window_seconds(Settings(engagement={"window_s": 20})) == 20


def test_a_summary_cannot_hold_pixels_places_or_people() -> None:
    """Every field of `Summary` is a number, a short text, a flag, or a fixed handful of them."""
    allowed = {
        "float", "int", "bool", "str | None", "float | None", "Engagement | None", "Noise | None",
        "tuple[float, ...] | None",
    }  # fmt: skip
    types = {
        str(f.type) if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type))
        for f in dataclasses.fields(Summary)
    }
    assert {t.replace("agent.records.", "") for t in types} <= allowed
    assert not {"box", "boxes", "crop", "image", "track", "person_scores"} & {
        f.name for f in dataclasses.fields(Summary)
    }
