"""Whole numbers, kept as the ranges that they form.

What a range costs does not grow with its length, nor to find it much with their number: a device that declares
tens of thousands of gaps must not keep the others waiting.
"""

from bisect import bisect_left, bisect_right


class Ranges:
    """Sorted ranges, both ends included, that neither overlap nor touch. At most `most`: the highest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __len__(self) -> int:
        return len(self._firsts)

    def __contains__(self, number: int) -> bool:
        return self.end(number) is not None

    def add(self, first: int, last: int) -> None:
        """Add all numbers from `first` to `last`."""
        start = bisect_left(self._lasts, first - 1)
        stop = bisect_right(self._firsts, last + 1, start)
        if start < stop:  # these overlap or touch it
            first, last = min(first, self._firsts[start]), max(last, self._lasts[stop - 1])
        self._firsts[start:stop], self._lasts[start:stop] = [first], [last]
        if len(self._firsts) > self._most:
            del self._firsts[-1], self._lasts[-1]

    def end(self, number: int) -> int | None:
        """Return the last number of the range that holds `number`, None if there is none."""
        at = bisect_left(self._lasts, number)
        return self._lasts[at] if at < len(self._lasts) and self._firsts[at] <= number else None

    def after(self, number: int) -> int | None:
        """Return where the first range begins that begins after `number`, None if there is none."""
        at = bisect_right(self._firsts, number)
        return self._firsts[at] if at < len(self._firsts) else None

    def drop(self, upto: int) -> None:
        """Forget the ranges that end at `upto` or before."""
        gone = bisect_right(self._lasts, upto)
        del self._firsts[:gone], self._lasts[:gone]
