"""Which windows of a declared range are really not here. What is stored does exist, whatever was said of it: an agent
that answers `not_kept` has forgotten what a collector acknowledged."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, or_, select

from deploy.collector.tables import streams, windows

Range = tuple[int, int]
"""First and last number, both included."""
_AT_ONCE: Final = 200
"""Ranges named in one query."""
_MOST_PARTS: Final = 50
"""Stored stretches looked at in one range; what is left of it beyond them counts as missing no more."""


def count_stored(connection: Connection, stream: int, ranges: Sequence[Range]) -> int:
    """Return how many windows of these ranges are stored."""
    found = 0
    for start in range(0, len(ranges), _AT_ONCE):
        inside = or_(*(windows.c.seq.between(*some) for some in ranges[start : start + _AT_ONCE]))
        query = select(func.count()).select_from(windows).where(windows.c.stream_id == stream, inside)
        found += connection.execute(query).scalar_one()
    return found


def missing(connection: Connection, stream: int, declared: Range) -> list[Range]:
    """Return what of a declared range is not stored."""
    mine = select(windows.c.seq).where(windows.c.stream_id == stream, windows.c.seq.between(*declared)).subquery()
    # Numbers without a hole between them grow with their rank: the difference names their stretch.
    stretch = (mine.c.seq - func.row_number().over(order_by=mine.c.seq)).label("stretch")
    ranked = select(mine.c.seq, stretch).subquery()
    query = select(func.min(ranked.c.seq), func.max(ranked.c.seq)).group_by(ranked.c.stretch)
    stored = connection.execute(query.order_by(func.min(ranked.c.seq)).limit(_MOST_PARTS)).all()
    found, first = [], declared[0]
    for start, end in stored:
        if first < start:
            found.append((first, start - 1))
        first = end + 1
    if first <= declared[1] and len(stored) < _MOST_PARTS:
        found.append((first, declared[1]))
    return found


class Losses:
    """Looks at the declared ranges of one agent, each once."""

    def __init__(self, connection: Connection, agent: int) -> None:
        self._connection, self._agent = connection, agent
        self._known: dict[tuple[int, Range], list[Range]] = {}

    def of(self, stream: int, declared: Range) -> list[Range]:
        """Return what of it is not stored."""
        if (stream, declared) not in self._known:
            self._known[stream, declared] = missing(self._connection, stream, declared)
        return self._known[stream, declared]

    def of_events(self, bodies: Iterable[dict[str, Any]]) -> list[list[Range]]:
        """Return the same for each `gap` among the events. One that named no epoch is believed."""
        bodies = list(bodies)
        epochs = sorted({body["epoch"] for body in bodies if "epoch" in body})
        known: dict[str | None, int] = {}
        for start in range(0, len(epochs), _AT_ONCE):
            some = streams.c.epoch.in_(epochs[start : start + _AT_ONCE])
            query = select(streams.c.epoch, streams.c.id).where(streams.c.agent_id == self._agent, some)
            known |= {row.epoch: row.id for row in self._connection.execute(query)}
        return [self._of_event((body["from"], body["to"]), known.get(body.get("epoch"))) for body in bodies]

    def _of_event(self, declared: Range, stream: int | None) -> list[Range]:
        return [declared] if stream is None else self.of(stream, declared)
