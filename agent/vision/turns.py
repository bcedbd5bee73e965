"""Whose turn is it? Faces beyond the budget take turns, the one that waited longest first. No IO, no clock.

Faces have no names: a face is the one last seen at its place. What is remembered is a place and a time, and it is
dropped when nobody was seen there for `FORGET_S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.records import Box

LONGEST_WAIT_S: Final = 2.0
"""A face is classified at least this often, whatever the budget (see ENGAGEMENT.md), seconds."""

FORGET_S: Final = 10.0
"""How long a place without a face is remembered, seconds."""

NEAR: Final = 0.7
"""A face is the one that was last within this distance, widths of its box."""


@dataclass(slots=True)
class _Place:
    x: float
    """Centre, pixels."""
    y: float
    looked: float
    """Last classified, or first seen; seconds."""
    seen: float
    """Seconds."""
    turn: int = 0
    """Number of the frame in which it was last classified, 0 for never: decides between equal times."""
    looks: int = 0
    """Times classified: of those that waited equally long, whoever had the fewest is first, not always the surest."""


class Turns:
    """Chooses which faces are classified in a frame."""

    def __init__(self, budget: int) -> None:
        """Take the most faces a frame; it is exceeded only by faces that would wait longer than `LONGEST_WAIT_S`."""
        self._budget = budget
        self._places: list[_Place] = []
        self._last: float | None = None
        self._frame = 0

    def choose(self, at: float, boxes: Sequence[Box]) -> list[int]:
        """Return which of `boxes`, seen at `at` (seconds), are to be classified now, as rising indices."""
        self._frame += 1
        period = 0.0 if self._last is None else max(0.0, at - self._last)
        if self._last is not None and at < self._last:
            self._places.clear()  # time was set back: what was remembered means nothing
        self._last = at
        places = self._recognised(at, boxes)
        waited = [(p.looked, p.turn, p.looks, -box.score) for p, box in zip(places, boxes, strict=True)]
        order = sorted(range(len(boxes)), key=waited.__getitem__)
        # Judged by the next frame: who cannot wait until then is due now.
        due = sum(1 for p in places if at + period - p.looked > LONGEST_WAIT_S)
        chosen = sorted(order[: max(self._budget, due)])
        for i in chosen:
            places[i].looked, places[i].turn = at, self._frame
            places[i].looks += 1
        return chosen

    def _recognised(self, at: float, boxes: Sequence[Box]) -> list[_Place]:
        """Return the place of each box, a known one where one is near and not yet taken, else a new one."""
        self._places = [p for p in self._places if at - p.seen <= FORGET_S]
        free = list(self._places)
        known = np.array([(p.x, p.y) for p in free]).reshape(-1, 2)
        taken = np.zeros(len(free), dtype=bool)
        result = []
        for box in boxes:
            centre = (box.x + box.width / 2, box.y + box.height / 2)
            away = np.where(taken, np.inf, np.hypot(*(known - centre).T))
            nearest = int(away.argmin()) if len(away) else -1
            if nearest >= 0 and away[nearest] <= NEAR * box.width:
                taken[nearest] = True
                place = free[nearest]
                place.x, place.y, place.seen = *centre, at
            else:
                place = _Place(*centre, looked=at, seen=at)
                self._places.append(place)
            result.append(place)
        return result
