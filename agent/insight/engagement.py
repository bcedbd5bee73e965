"""From the probabilities of one window's seats to what it says of the room. Pure functions, no state.

The index is a facial-expression proxy. It is not validated as a measure of learning or attention
(Barrett et al. 2019). Law: every seat has equal weight, and nothing is decided by argmax.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS
from agent.insight import interval
from agent.insight.weights import WeightTable
from agent.records import Engagement, Moods

LEAST_SAMPLES: Final = 5
"""Accepted samples that a seat needs to count."""

CAVEAT: Final = (
    "A facial-expression proxy; not validated as a measure of learning, attention or understanding "
    "(Barrett et al. 2019, doi 10.1177/1529100619832930)."
)

AFFECT: Final = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "surprise": (0.40, 0.67),
    "sadness": (-0.63, -0.27),
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "contempt": (-0.40, 0.20),
}
"""Emotion → (valence, arousal), -1…1, after Russell & Mehrabian 1977; contempt is this project's assumption."""

_AFFECT: Final = np.array([AFFECT[label] for label in LABELS])  # (8, 2)


def measure(
    seats: Sequence[npt.NDArray[np.float64]], weights: WeightTable, room: int | None, baseline: float | None = None
) -> tuple[Moods, int] | None:
    """Return what the window says of the room and how many seats counted; None when no seat has enough samples.

    Parameters
    ----------
    seats : one array of shape (m_i, 8) a seat: calibrated probabilities in order of time, rows sum 1
    weights : what each emotion counts for
    room : N, people in the room, whether they gave samples or not; None where it is not known
    baseline : the room's own resting index, points, or None
    """
    enough = [seat for seat in seats if len(seat) >= LEAST_SAMPLES]
    if not enough:
        return None
    scores = [score(seat, weights) for seat in enough]
    value = min(max(float(np.mean([seat.mean() for seat in scores])), 0.0), 100.0)
    variance = interval.variance_of_mean(scores, room)
    ci95 = None if variance is None else interval.ci95(value, variance, len(enough))
    delta = None if baseline is None else value - baseline
    shares = np.mean([seat.mean(axis=0) for seat in enough], axis=0)
    return _moods(shares / shares.sum(), Engagement(value, ci95, delta, weights.id)), len(enough)


def score(probabilities: npt.NDArray[np.float64], weights: WeightTable) -> npt.NDArray[np.float64]:
    """Return Σ_c s_c p_c: float64 array of shape (m,), 0-100 points, of probabilities (m, 8)."""
    return probabilities @ weights.vector()


def _moods(shares: npt.NDArray[np.float64], engagement: Engagement) -> Moods:
    """Return all that follows from the room's mean probabilities (8,)."""
    valence, arousal = (float(v) for v in shares @ _AFFECT)
    expressivity = 100 * (1 - float(shares[LABELS.index("neutral")]))
    return Moods(engagement, valence, arousal, min(max(expressivity, 0.0), 100.0), tuple(map(float, shares)))
