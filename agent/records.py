"""The values that flow through the agent, in the order they are made. All frozen, all valid once built.

Frame → Box → Face → Reading → Window → Summary. Pixels end at `Reading`; places end at `Window`; only a
`Summary`, which the privacy gate made, may leave the device, and it has no field that could hold either.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS

_SUM_TOLERANCE: Final = 1e-3
"""How far eight probabilities may sum from 1: float32 softmax is within 1e-6, dequantised int8 within 1e-3."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture, or the news that there is none."""

    image: npt.NDArray[np.uint8]
    """uint8 (h, w, 3) BGR 0-255; (0, 0, 3) where the camera gave nothing."""
    at: float
    """When it was taken, seconds of a monotonic clock (media time when a file is played)."""
    trouble: str | None = None
    """Reason code ("camera.frozen", "camera.black", …) that makes the picture unusable, or None."""

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"expected uint8 (h, w, 3), got {self.image.dtype} {self.image.shape}")
        if not math.isfinite(self.at):
            raise ValueError(f"expected a finite time, got {self.at}")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a face is, in pixels of the frame; may reach over its border."""

    x: float
    """Left edge, pixels."""
    y: float
    """Top edge, pixels."""
    width: float
    """Pixels, > 0."""
    height: float
    """Pixels, > 0."""
    score: float = 1.0
    """The detector's confidence, 0-1."""
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Eye centres (x, y), pixels, the one further left in the picture first; None if the detector has none."""

    def __post_init__(self) -> None:
        values = (self.x, self.y, self.width, self.height, self.score)
        if not all(map(math.isfinite, values)) or self.width <= 0 or self.height <= 0:
            raise ValueError(f"expected finite values and a positive size, got {values}")


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face cut out of a frame, ready for the classifier."""

    box: Box
    crop: npt.NDArray[np.uint8]
    """uint8 (h, w) grey 0-255, square, eyes level; any size: `preprocess` brings it to the network's."""
    rejected: str | None = None
    """Why it must not be classified ("small", "blurred", "dark", "bright", "turned"), or None."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one face. It lives until its window closes and is never sent, stored or logged."""

    box: Box
    probabilities: tuple[float, ...] | None
    """Calibrated probabilities in the order of `LABELS`, each 0-1, sum 1; None if the face was rejected
    (or left for a later frame): a missing sample, not an emotion."""
    waits: bool = False
    """Whether it was left for a later frame: other faces had their turn."""

    def __post_init__(self) -> None:
        p = self.probabilities
        if p is None:
            return
        if len(p) != len(LABELS) or not all(0 <= v <= 1 for v in p) or abs(sum(p) - 1) > _SUM_TOLERANCE:
            raise ValueError(f"expected {len(LABELS)} probabilities that sum to 1, got {p}")


@dataclass(frozen=True, slots=True)
class Engagement:
    """The index with its uncertainty. A facial-expression proxy, not validated as a measure of learning."""

    value: float
    """0-100 points."""
    ci95: tuple[float, float] | None
    """95 % interval, points, within 0-100; None where it is not defined (one seat)."""
    delta: float | None
    """Value minus the room's own baseline, -100…100 points; None without a baseline."""
    weights_id: str
    """Which weight table made it, e.g. "sharma2019-affine/1"."""


@dataclass(frozen=True, slots=True)
class Moods:
    """What else a window says of the room: means over seats, equal weight a seat."""

    engagement: Engagement
    valence: float
    """-1…1."""
    arousal: float
    """-1…1."""
    expressivity: float
    """0-100 %."""
    shares: tuple[float, ...]
    """Eight shares in the order of `LABELS`, each 0-1, sum 1."""


@dataclass(frozen=True, slots=True)
class Window:
    """One closed window as measured, before the privacy gate. Holds no pixels and no places."""

    start: float
    """Seconds, the frames' monotonic clock."""
    end: float
    """Seconds, > start."""
    frames: int
    """Frames looked at."""
    seats: int
    """People seen: distinct seats."""
    contributing: int
    """Seats with enough accepted samples to count (k)."""
    coverage: float
    """Accepted seat-samples ÷ (N x the frames that should have been looked at, without the turns that a face waited
    for), 0-1; N is the seats, or the people that the configuration says the room has if they are more."""
    moods: Moods | None
    """None when no seat contributes."""
    person_scores: tuple[float, ...] = ()
    """Mean score of each person that the contributing seats are for certain (`insight.people`), 0-100 points, sorted
    so that their order tells nothing. The privacy gate counts them and adds its noise to their sum; they end there."""
    trouble: str | None = None
    """Reason code if the camera made this window unusable."""
    partial: bool = False
    """Cut short: the agent stopped, or the video ended."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What differential privacy did to a result."""

    epsilon: float
    """Privacy loss of this window."""
    mechanism: str
    spent_today: float
    """Privacy loss of this local day, this window included."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One window that passed the privacy gate: the only type that may be published."""

    start: float
    """Seconds, the frames' monotonic clock."""
    end: float
    """Seconds, > start."""
    frames: int
    seats: int
    """People seen, a count for the whole room."""
    n_eff: float
    """Effective number of people behind the result."""
    coverage: float
    """0-1."""
    suppressed: str | None
    """Why there is no result ("k_min", "camera.frozen", "budget", "paused", …), or None."""
    engagement: Engagement | None = None
    valence: float | None = None
    arousal: float | None = None
    expressivity: float | None = None
    shares: tuple[float, ...] | None = None
    noise: Noise | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        results = (self.engagement, self.valence, self.arousal, self.expressivity, self.shares)
        if self.suppressed is not None and any(r is not None for r in results):
            raise ValueError(f"a window suppressed for {self.suppressed!r} must not carry a result")
        if self.suppressed is None and self.engagement is None:
            raise ValueError("expected a result or the reason why there is none")
