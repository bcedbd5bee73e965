"""The daily allowance of noised results: state without IO and without a clock. `budget_file` keeps it on disk.

Law: whatever is not understood is closed, never reset.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Protocol

WINDOWS_A_DAY: Final = 12
"""Most noised results in one local day; with ε = 1 each, at most ε = 12 a person and day (basic composition)."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one local day has used up."""

    day: date
    """Local day."""
    windows: int
    """Noised results released on it, 0 … WINDOWS_A_DAY."""

    def __post_init__(self) -> None:
        if not 0 <= self.windows <= WINDOWS_A_DAY:
            raise ValueError(f"expected 0 to {WINDOWS_A_DAY} windows, got {self.windows}")


def spend(spent: Spent, today: date) -> Spent | None:
    """Take one more result on `today`; None if the day is used up, or if `spent` is of a later day (the clock
    went back: closed until it has caught up, or each step back would open the same day again)."""
    if spent.day > today:
        return None
    if spent.day < today:
        return Spent(today, 1)
    return replace(spent, windows=spent.windows + 1) if spent.windows < WINDOWS_A_DAY else None


class Budget(Protocol):
    """What the gate asks before it releases a noised result."""

    def spend(self) -> int | None:
        """Take one result: how many were released today, this one included; None if closed."""


class MemoryBudget:
    """A budget that is forgotten with the process: for video files, whose owner holds the pictures anyway."""

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        self._today = today
        self._spent = Spent(today(), 0)

    def spend(self) -> int | None:
        """See `Budget.spend`."""
        after = spend(self._spent, self._today())
        if after is None:
            return None
        self._spent = after
        return after.windows
