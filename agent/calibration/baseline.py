"""Part "baseline": the room's resting index from a session that everybody agreed to. State without IO or a clock.

Probabilities and places of the session live in memory until the result is asked for, and end there.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.calibration import parts, prior
from agent.emotions import LABELS
from agent.errors import CheckFailed
from agent.insight import engagement, people
from agent.insight.weights import WeightTable
from agent.insight.window import SeatMap, frames_by_seat, samples_by_seat
from agent.records import Reading

LEAST_SECONDS: Final = 20.0
"""Each person must have been seen for this long, seconds: well enough to be read, whether or not it was their turn."""


class BaselineMeter:
    """Add every frame's readings, then ask for the result. Single-threaded."""

    def __init__(self, seats: SeatMap, fps: float) -> None:
        """Take what links boxes to places, and how many frames come a second."""
        self._seats, self._fps = seats, fps
        self._seen: list[tuple[int, int, Reading]] = []
        self._times: list[float] = []

    def add(self, at: float, readings: Sequence[Reading]) -> None:
        """Take one frame's readings, taken at `at` (seconds)."""
        self._times.append(at)
        ids = self._seats.add([reading.box for reading in readings])
        self._seen += [
            (len(self._times), i, reading)
            for i, reading in zip(ids, readings, strict=True)
            if reading.waits or reading.probabilities is not None
        ]

    def result(
        self,
        weights: WeightTable,
        *,
        k_min: int,
        room_seats: int | None = None,
        reference: npt.ArrayLike | None = None,
    ) -> parts.Baseline:
        """Return the part.

        Parameters
        ----------
        weights : in whose points the index is
        k_min : fewest people
        room_seats : people in the room, if known
        reference : (16, 8) of the model's card, to correct the prior with; None leaves the correction off

        Raises
        ------
        CheckFailed
            fewer than `k_min` people seen for `LEAST_SECONDS` and read often enough to count in a window, or the prior
            correction fails its test
        """
        seats = self._people(k_min)
        ratio, fit = (None, None) if reference is None else _corrected(seats, reference)
        if ratio is not None:
            seats = [_normalized(seat * np.array(ratio)) for seat in seats]
        found = engagement.measure(seats, weights, room_seats)
        assert found is not None, "every seat has enough samples"
        index = found[0].engagement
        assert index.ci95 is not None, "k_min is at least 2"
        return parts.Baseline(
            index=index.value,
            ci95=index.ci95,
            people=len(seats),
            seconds=self._times[-1] - self._times[0] + 1 / self._fps,
            weights_id=weights.fingerprint,
            prior_ratio=ratio,
            prior_fit=fit,
        )

    def _people(self, k_min: int) -> list[npt.NDArray[np.float64]]:
        """Return the probabilities of those who were seen for long enough; all places are forgotten."""
        seat_of = self._seats.merged()
        frames = frames_by_seat(((frame, i) for frame, i, _ in self._seen), seat_of)
        looks = samples_by_seat([one for one in self._seen if one[2].probabilities is not None], seat_of)
        self._seats.reset()
        self._seen = []
        least = round(LEAST_SECONDS * self._fps)
        often = {
            seat: frames[seat]
            for seat, rows in looks.items()
            if len(frames[seat]) >= least and len(rows) >= engagement.LEAST_SAMPLES
        }
        certain = len(people.certain(often))
        if certain < k_min:
            raise CheckFailed(
                f"baseline: expected at least {k_min} people who are seen for {LEAST_SECONDS:g} s each, got "
                f"{certain} ({len(frames)} places seen at all, {len(self._times) / self._fps:.0f} s of pictures); "
                "record longer, with more people in view, all at the same time"
            )
        return [_normalized(looks[seat]) for seat in often]


def _corrected(seats: Sequence[npt.NDArray[np.float64]], reference: npt.ArrayLike) -> tuple[tuple[float, ...], float]:
    """Return (ratio, fit) of the prior correction. Raises CheckFailed where it must not be used."""
    try:
        found = prior.correct(seats, reference)
    except ValueError as cause:
        raise CheckFailed(f"prior correction: {cause}; the model's card cannot support it, leave it off") from cause
    if not found.fit <= prior.WORST_FIT:
        raise CheckFailed(
            f"prior correction: expected a fit of χ²/df at most {prior.WORST_FIT:g}, got {found.fit:.1f}: faces look "
            "different here, not only their shares; leave it off"
        )
    if not found.cut <= prior.WORST_CUT:
        bounded = np.where(np.array(found.ratio) >= parts.LARGEST_RATIO, found.shares, 0.0)
        raise CheckFailed(
            f"prior correction: expected no emotion to be more than {parts.LARGEST_RATIO:g} times as common as in "
            f"training, got {LABELS[int(bounded.argmax())]} beyond that: faces may look different here; leave it "
            "off"
        )
    return found.ratio, found.fit


def _normalized(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))
