"""The schedule: is the camera allowed to be open now? Pure: the time comes in.

Law: open only while a clock on the wall shows a time inside the hours; an hour that the clock repeats in autumn is
not opened again once the hours have ended.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from agent.config import Hours

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_open(schedule: Sequence[Hours], at: float, zone: tzinfo) -> bool:
    """True if the camera may be open.

    schedule: weekly hours; none means always
    at: seconds since 1970, UTC
    zone: the room's time zone, with its daylight-saving rules
    """
    return not schedule or any(_within(hours, at, zone) for hours in schedule)


def _within(hours: Hours, at: float, zone: tzinfo) -> bool:
    now = datetime.fromtimestamp(at, zone)
    # Hours that cross midnight may have begun yesterday.
    return any(_within_day(hours, now, now.date() - timedelta(days=back), zone) for back in (0, 1))


def _within_day(hours: Hours, now: datetime, day: date, zone: tzinfo) -> bool:
    """True if `now` lies in the hours that begin on `day`, by the wall clock and by the time that passed."""
    if DAYS[day.weekday()] not in hours.days:
        return False
    start, end = (time.fromisoformat(text) for text in (hours.start, hours.end))
    begins = datetime.combine(day, start)
    ends = datetime.combine(day + timedelta(days=end <= start), end)
    if not begins <= now.replace(tzinfo=None) < ends:
        return False
    # A time that the clock jumps over in spring has begun when it jumps; one that it repeats in autumn counts once.
    started = min(begins.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return started <= now.astimezone(UTC) < ends.replace(tzinfo=zone, fold=0).astimezone(UTC)
