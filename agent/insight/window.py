"""Readings → windows. State without IO and without a clock: add / close, single-threaded, no locks.

Time is the frames' own clock. The grid of windows [t0 + n·L, t0 + (n+1)·L) starts at the first frame; a window
closes when a frame arrives at or past its end, and that frame belongs to the next one. What happens when
time misbehaves:
- a hole longer than a window: the open window is returned (its coverage shows what is missing), windows
  without any frame are not made up; the next one keeps to the grid, and the hole between the two is the gap.
  One frame closes at most one window, so neither memory nor messages grow with the hole.
- a step back by up to one frame period: a late frame, taken as if it came with the one before.
- a longer step back (a clock set, a film played again): the open window is returned, flagged partial, and a
  new grid starts at this frame.
A window with frames but without faces is returned with `moods` None. Places are forgotten when a window closes.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS
from agent.errors import ConfigError
from agent.insight import engagement, people
from agent.insight.weights import WeightTable
from agent.records import Box, Reading, Window

_UNUSABLE: Final = 0.5
"""A window is given up when more than this share of its frames had camera trouble."""
_PAUSED: Final = "paused"
"""One such frame will do: who may pause and resume must not choose which part of a window is published."""


class SeatMap(Protocol):
    """Who sat where, within one window (`agent.vision.seats.Seats`)."""

    def add(self, boxes: Sequence[Box]) -> list[int]:
        """Return a provisional id for each box of one frame."""

    def merged(self) -> dict[int, int]:
        """Return provisional id → seat; false alarms are missing."""

    def reset(self) -> None:
        """Forget everything."""


@dataclass(slots=True)
class _Open:
    """The window that is being filled."""

    start: float
    last: float
    """Time of the newest frame, seconds."""
    frames: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[int, int, Reading]] = field(default_factory=list)
    """(frame number, provisional id, accepted reading)"""
    sighted: list[tuple[int, int, bool]] = field(default_factory=list)
    """(frame number, provisional id, whether the face was left for a later frame) of every face that can be read: who
    cannot be read, and sits beside somebody who changes chairs, must not make two people of that one's looks"""


class WindowAggregator:
    """Collects readings and gives back one `Window` for each stretch of `window_s` seconds."""

    def __init__(
        self,
        seats: SeatMap,
        weights: WeightTable,
        *,
        window_s: float,
        fps: float,
        room_seats: int | None = None,
        baseline: float | None = None,
        prior_ratio: Sequence[float] | None = None,
    ) -> None:
        """Take what a window needs.

        Parameters
        ----------
        seats : links boxes to places; this object alone uses it
        weights : what each emotion counts for
        window_s : length of a window, seconds
        fps : frames that should come, per second
        room_seats : people in the room, if known: coverage and interval count those who are not seen, too; otherwise
            coverage is of those seen, and the interval allows for any number of others
        baseline : the room's own resting index, points (calibration)
        prior_ratio : eight factors on the probabilities (calibration's prior correction), or None

        Raises
        ------
        ConfigError
            a window is too short for any seat to count
        """
        if not window_s * fps >= engagement.LEAST_SAMPLES:
            raise ConfigError(
                f"expected engagement.window_s x camera.fps of at least {engagement.LEAST_SAMPLES} frames a window, "
                f"got {window_s:g} s x {fps:g}/s = {window_s * fps:g}; lengthen the window or raise the rate"
            )
        self._seats = seats
        self._weights = weights
        self._length = window_s
        self._fps = fps
        self._room_seats = room_seats
        self._baseline = baseline
        self._ratio = None if prior_ratio is None else np.array(prior_ratio, dtype=np.float64)
        self._origin = 0.0
        self._open: _Open | None = None

    def add(self, at: float, readings: Sequence[Reading], trouble: str | None = None) -> Window | None:
        """Take one frame's readings, taken at `at` (seconds); return the window that this frame closed, if any."""
        if not math.isfinite(at):
            raise ValueError(f"expected a finite time, got {at}")
        if self._open is None:
            self._origin = at
            self._open = _Open(at, at)
        closed, at = self._close_before(at)
        self._take(self._open, at, readings, trouble)
        return closed

    def close(self) -> Window | None:
        """Return what is left, flagged partial; None if nothing was added."""
        return self._measure(self._open, partial=True) if self._open else None

    def _close_before(self, at: float) -> tuple[Window | None, float]:
        """Return the window that a frame at `at` closes, if any, and the time that the frame counts as."""
        assert self._open is not None
        if at < self._open.last - 1 / self._fps:
            closed, self._origin = self._measure(self._open, partial=True), at
            self._open = _Open(at, at)
            return closed, at
        at = max(at, self._open.last)
        if at < self._open.start + self._length:
            return None, at
        closed = self._measure(self._open, partial=False)
        start = self._start_of(at)
        self._open = _Open(start, at)
        return closed, at

    def _start_of(self, at: float) -> float:
        """Return the start of the grid's window that holds `at`, never later than `at`."""
        steps = math.floor((at - self._origin) / self._length)
        start = self._origin + steps * self._length
        # Rounding of the division can land one window off, exactly on a boundary.
        if start > at:
            return start - self._length
        return start + self._length if at >= start + self._length else start

    def _take(self, window: _Open, at: float, readings: Sequence[Reading], trouble: str | None) -> None:
        window.last = at
        window.frames += 1
        if trouble is not None:
            window.trouble[trouble] += 1
            return
        ids = self._seats.add([reading.box for reading in readings])
        for i, reading in zip(ids, readings, strict=True):
            if reading.waits or reading.probabilities is not None:
                window.sighted.append((window.frames, i, reading.waits))
            if reading.probabilities is not None:
                window.samples.append((window.frames, i, reading))

    def _measure(self, window: _Open, *, partial: bool) -> Window:
        """Return the finished window; all places in it are forgotten."""
        self._open = None
        merged = self._seats.merged()
        self._seats.reset()
        end = window.start + self._length
        if partial:
            # A frame stands for the period that follows it.
            end = min(end, max(window.last, window.start) + 1 / self._fps)
        if window.trouble[_PAUSED] or window.trouble.total() > _UNUSABLE * window.frames:
            return self._unusable(window, end, partial=partial)
        scheduled = max(1, round((end - window.start) * self._fps))
        by_seat = {seat: self._corrected(rows) for seat, rows in samples_by_seat(window.samples, merged).items()}
        seats = list(by_seat.values())
        seen = len(set(merged.values()))
        room = max(seen, self._room_seats or 0)
        waited = sum(waits for _, i, waits in window.sighted if i in merged)
        accepted, due = sum(len(seat) for seat in seats), room * scheduled - waited
        measured = engagement.measure(seats, self._weights, self._room_seats and room, self._baseline)
        moods, contributing = measured or (None, 0)
        return Window(
            start=window.start,
            end=end,
            frames=window.frames,
            seats=seen,
            contributing=contributing,
            coverage=min(1.0, accepted / due) if due > 0 else 0.0,
            moods=moods,
            person_scores=self._person_scores(window, merged, by_seat),
            partial=partial,
        )

    def _person_scores(
        self, window: _Open, merged: Mapping[int, int], by_seat: Mapping[int, npt.NDArray[np.float64]]
    ) -> tuple[float, ...]:
        """Return the mean score of each group of counting seats that may be one person, sorted: their order tells."""
        frames = frames_by_seat(((frame, i) for frame, i, _ in window.sighted), merged)
        counting = [seat for seat, rows in by_seat.items() if len(rows) >= engagement.LEAST_SAMPLES]
        groups = people.certain({seat: frames[seat] for seat in counting})
        looks = (np.concatenate([by_seat[seat] for seat in group]) for group in groups)
        return tuple(sorted(float(engagement.score(rows, self._weights).mean()) for rows in looks))

    def _corrected(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return probabilities (m, 8) with the room's prior, sum 1."""
        assert rows.shape[1] == len(LABELS)
        weighted = rows if self._ratio is None else rows * self._ratio
        return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))

    def _unusable(self, window: _Open, end: float, *, partial: bool) -> Window:
        """Return a window that the camera's trouble made unusable, with "paused" or its most frequent reason."""
        return Window(
            start=window.start,
            end=end,
            frames=window.frames,
            seats=0,
            contributing=0,
            coverage=0.0,
            moods=None,
            trouble=_PAUSED if window.trouble[_PAUSED] else window.trouble.most_common(1)[0][0],
            partial=partial,
        )


def frames_by_seat(sighted: Iterable[tuple[int, int]], merged: Mapping[int, int]) -> dict[int, set[int]]:
    """Return seat → numbers of the frames in which it was seen, of (frame number, provisional id) and
    provisional id → seat; false alarms are left out."""
    frames: dict[int, set[int]] = {seat: set() for seat in merged.values()}
    for frame, provisional in sighted:
        if provisional in merged:
            frames[merged[provisional]].add(frame)
    return frames


def samples_by_seat(
    samples: Sequence[tuple[int, int, Reading]], merged: Mapping[int, int]
) -> dict[int, npt.NDArray[np.float64]]:
    """Return seat → array (m_i, 8) of its probabilities in order of time.

    A seat that was found twice in a frame (in two tiles) counts once, by the surer box; false alarms are left out.

    Parameters
    ----------
    samples : (frame number, provisional id, accepted reading) in order of time
    merged : provisional id → seat
    """
    best: dict[tuple[int, int], Reading] = {}
    for frame, provisional, reading in samples:
        if provisional not in merged:
            continue
        key = (merged[provisional], frame)
        if key not in best or reading.box.score > best[key].box.score:
            best[key] = reading
    seats: dict[int, list[tuple[float, ...]]] = {}
    for (seat, _), reading in best.items():
        assert reading.probabilities is not None
        seats.setdefault(seat, []).append(reading.probabilities)
    return {seat: np.array(rows) for seat, rows in seats.items()}
