"""How old the spool's files are: by what windows say of their end, never by a clock that was not synchronised then."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from agent.delivery import wire
from agent.delivery.segment import Place, Segment


class _Stamp(BaseModel):
    """What counts of a window's payload."""

    end_ms: int
    clock: wire.Clock


def too_old(segments: Sequence[Segment], places: Iterable[Place], before: float) -> int:
    """How many of the oldest files end before `before` (seconds since 1970).

    A file of which no synchronised clock tells (the device had none, or a wrong one) goes with a later file that one
    tells of. The newest file stays.
    """
    newest = {id(place.segment): place for place in places if place.kind == "window"}
    count = 0
    for number, segment in enumerate(segments[:-1], 1):
        ended = _ended(newest.get(id(segment)))
        if ended is not None and ended >= before:
            break
        count = count if ended is None else number
    return count


def _ended(window: Place | None) -> float | None:
    """When `window` ended, in seconds since 1970; None if no synchronised clock says so."""
    if window is None:
        return None
    try:
        stamp = _Stamp.model_validate_json(window.segment.read(window.record.offset, window.record.length) or b"")
    except ValueError:
        return None
    return stamp.end_ms / 1000 if stamp.clock.synced else None
