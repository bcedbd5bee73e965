"""One room's lessons, window by window. State without IO and without a clock; random numbers come in.

45 minutes of lesson, 10 of break, around the clock. Nothing here was measured on people: it looks like a school so
that a dashboard can be built, and every window says `clock.source = "simulated"`.
"""

import math
import random
from dataclasses import dataclass
from typing import Final

from agent.emotions import LABELS
from agent.insight.engagement import AFFECT
from agent.insight.weights import WeightTable
from agent.records import Engagement, Moods, Window

LESSON_S: Final = 45 * 60.0
BREAK_S: Final = 10 * 60.0
_LEVEL: Final = dict(zip(LABELS, (2.0, 1.0, 0.0, 0.0, -0.3, -1.5, -0.8, -1.2), strict=True))
"""Mean log-odds of a room: mostly neutral, then happiness (see `tests.benchmarks.intervals`)."""
_SEATS_APART: Final = 12.0
"""Standard deviation between seats, points."""
_MEMORY: Final = 0.85
"""How much of a window's mood the next one keeps, 0-1."""
_TROUBLES: Final = ("camera.black", "camera.frozen", "camera.stalled", "camera.covered")

_OFFLINE: Final = 1 / 300
_TROUBLE: Final = 1 / 200
_CRASH: Final = 1 / 800
"""Chances that a window begins such an incident."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What happens in one window of a room."""

    window: Window | None
    """What was measured; None where the device crashed before the window closed."""
    offline: bool
    """The device has no network."""


class Lessons:
    """Call `next(start)` for window after window."""

    def __init__(self, rng: random.Random, weights: WeightTable, window_s: float, trouble: float = 1.0) -> None:
        """Args:
        rng: this room's own.
        weights: what each emotion counts for.
        window_s: length of a window, seconds.
        trouble: factor on how often something goes wrong; 0 never.
        """
        self._rng, self._weights, self._window_s, self._scale = rng, weights.points, window_s, trouble
        self._weights_id = weights.id
        self._enrolled = rng.randint(12, 30)
        self._offset = rng.uniform(0, LESSON_S + BREAK_S)
        self._level = [_LEVEL[label] + rng.gauss(0, 0.3) for label in LABELS]
        self._mood = [0.0] * len(LABELS)
        self._present = self._enrolled
        self._offline = self._dark = 0
        self._reason = _TROUBLES[0]

    def next(self, start: float) -> Moment:
        """The window that begins at `start` (seconds, any origin)."""
        phase = (start + self._offset) % (LESSON_S + BREAK_S)
        people = self._people(phase)
        self._offline = max(0, self._offline - 1) or self._begins(_OFFLINE, 3, 20)
        self._dark = max(0, self._dark - 1)
        if not self._dark and (lasts := self._begins(_TROUBLE, 1, 5)):
            self._dark, self._reason = lasts, self._rng.choice(_TROUBLES)
        if self._begins(_CRASH, 1, 1):
            return Moment(None, offline=self._offline > 0)
        return Moment(self._window(start, people, phase / LESSON_S), offline=self._offline > 0)

    def _begins(self, chance: float, least: int, most: int) -> int:
        """How many windows an incident lasts that begins now; mostly 0."""
        if self._rng.random() >= chance * self._scale:
            return 0
        return self._rng.randint(least, most)

    def _people(self, phase: float) -> int:
        if phase >= LESSON_S:
            return self._rng.randint(0, 6)
        if phase < self._window_s:  # a lesson begins: some are ill, some are late
            self._present = max(4, self._enrolled - self._rng.randint(0, 4))
        return self._present

    def _window(self, start: float, people: int, progress: float) -> Window:
        seen = min(0.97, max(0.4, self._rng.gauss(0.8, 0.1)))
        counted = sum(self._rng.random() < min(1.0, seen + 0.15) for _ in range(people))
        dark = self._dark > 0
        # With so few samples the real agent would not count a seat either.
        moods = None if dark or counted == 0 else self._moods(counted, progress)
        return Window(
            start=start,
            end=start + self._window_s,
            frames=max(1, round(self._window_s)),
            seats=0 if dark else people,
            contributing=0 if dark else counted,
            coverage=0.0 if dark or not people else seen * counted / people,
            moods=moods,
            person_scores=() if moods is None else (moods.engagement.value,) * counted,
            trouble=self._reason if dark else None,
        )

    def _moods(self, counted: int, progress: float) -> Moods:
        drift = math.sqrt(1 - _MEMORY**2)
        self._mood = [_MEMORY * m + drift * self._rng.gauss(0, 0.35) for m in self._mood]
        # Attention rises in the first quarter of a lesson and sinks after its middle.
        arc = {"neutral": 0.5 - 2.5 * (progress - 0.35) ** 2, "sadness": 0.8 * max(0.0, progress - 0.5)}
        odds = [
            math.exp(level + mood + arc.get(label, 0.0))
            for label, level, mood in zip(LABELS, self._level, self._mood, strict=True)
        ]
        shares = tuple(o / sum(odds) for o in odds)
        value = sum(s * w for s, w in zip(shares, self._weights, strict=True))
        half = None if counted < 2 else 2.1 * _SEATS_APART / math.sqrt(counted)
        ci95 = None if half is None else (max(0.0, value - half), min(100.0, value + half))
        return Moods(
            Engagement(value, ci95, None, self._weights_id),
            valence=sum(s * AFFECT[label][0] for s, label in zip(shares, LABELS, strict=True)),
            arousal=sum(s * AFFECT[label][1] for s, label in zip(shares, LABELS, strict=True)),
            expressivity=100 * (1 - shares[LABELS.index("neutral")]),
            shares=shares,
        )
