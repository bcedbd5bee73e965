"""The schedule: weekly hours, midnight, and both changes of the clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent.config import Hours
from agent.insight.schedule import is_open

BERLIN = ZoneInfo("Europe/Berlin")
"""Spring 2026: 29 March 02:00 → 03:00. Autumn 2026: 25 October 03:00 → 02:00. Both Sundays."""


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def hours(days: str, start: str, end: str) -> Hours:
    return Hours(days=tuple(days.split()), start=start, end=end)


def opened(text: str, *schedule: Hours, fold: int = 0) -> bool:
    return is_open(schedule, at(text, fold), BERLIN)


def test_no_schedule_is_always_open() -> None:
    """Without a [[schedule]] the hours do not limit anything."""
    assert opened("2026-03-01 03:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02 07:59:59", False), ("2026-03-02 08:00", True), ("2026-03-02 12:59:59", True),
        ("2026-03-02 13:00", False), ("2026-03-03 09:00", False), ("2026-03-06 09:00", True),
    ],
)  # fmt: skip
def test_open_from_the_first_minute_to_before_the_last(text: str, expected: bool) -> None:
    """Monday and Friday 08:00-13:00: start included, end excluded, other days closed."""
    assert opened(text, hours("mon fri", "08:00", "13:00")) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-06 21:59", False), ("2026-03-06 23:30", True), ("2026-03-07 00:00", True),
        ("2026-03-07 01:59", True), ("2026-03-07 02:00", False), ("2026-03-06 01:00", False),
        ("2026-03-07 23:00", False),
    ],
)  # fmt: skip
def test_hours_that_cross_midnight_belong_to_the_day_they_begin(text: str, expected: bool) -> None:
    """Friday 22:00-02:00 is Friday night, not the early Friday and not Saturday night."""
    assert opened(text, hours("fri", "22:00", "02:00")) is expected


def test_until_midnight() -> None:
    """An end of 00:00 is the midnight that follows."""
    assert opened("2026-03-06 23:59:59", hours("fri", "20:00", "00:00"))
    assert not opened("2026-03-07 00:00", hours("fri", "20:00", "00:00"))


def test_sunday_night_reaches_into_monday() -> None:
    """The week wraps: Sunday 23:00-01:00 is open on Monday at 00:30."""
    assert opened("2026-03-02 00:30", hours("sun", "23:00", "01:00"))


def test_night_over_the_spring_change() -> None:
    """Saturday 22:00-06:00 ends when the wall shows 06:00, one real hour earlier."""
    night = hours("sat", "22:00", "06:00")
    assert opened("2026-03-29 05:59", night)
    assert not opened("2026-03-29 06:00", night)
    assert at("2026-03-29 06:00") - at("2026-03-28 22:00") == 7 * 3600


def test_night_over_the_autumn_change() -> None:
    """Saturday 22:00-06:00 stays open through the repeated hour and ends at 06:00, one real hour later."""
    night = hours("sat", "22:00", "06:00")
    assert opened("2026-10-25 02:30", night, fold=0)
    assert opened("2026-10-25 02:30", night, fold=1)
    assert not opened("2026-10-25 06:00", night)
    assert at("2026-10-25 06:00") - at("2026-10-24 22:00") == 9 * 3600


def test_hours_that_begin_in_the_missing_hour() -> None:
    """02:30-04:00 on the day without a 02:30 opens when the clock jumps to 03:00."""
    early = hours("sun", "02:30", "04:00")
    assert not opened("2026-03-29 01:59:59", early)
    assert opened("2026-03-29 03:00", early)
    assert not opened("2026-03-29 04:00", early)


def test_hours_that_end_in_the_missing_hour() -> None:
    """01:00-02:30 on that day stays open to the jump, and is closed when the wall shows 03:00."""
    early = hours("sun", "01:00", "02:30")
    assert opened("2026-03-29 01:59:59", early)
    assert not opened("2026-03-29 03:00", early)


def test_hours_do_not_reopen_in_the_repeated_hour() -> None:
    """01:00-02:30 ends at the first 02:30: when the clock shows 02:10 again the camera stays closed."""
    early = hours("sun", "01:00", "02:30")
    assert opened("2026-10-25 02:10", early, fold=0)
    assert not opened("2026-10-25 02:40", early, fold=0)
    assert not opened("2026-10-25 02:10", early, fold=1)


def test_hours_that_begin_in_the_repeated_hour_follow_the_wall() -> None:
    """02:30-05:00 opens at the first 02:30, closes while the wall shows 02:10 again, opens again at 02:30."""
    early = hours("sun", "02:30", "05:00")
    assert not opened("2026-10-25 02:10", early, fold=0)
    assert opened("2026-10-25 02:40", early, fold=0)
    assert not opened("2026-10-25 02:10", early, fold=1)
    assert opened("2026-10-25 02:40", early, fold=1)
    assert not opened("2026-10-25 05:00", early)
