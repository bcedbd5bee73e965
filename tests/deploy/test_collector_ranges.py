"""Ranges of whole numbers, against a plain set of the same numbers."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.collector.ranges import Ranges

NUMBERS = st.integers(0, 40)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 9))), st.integers(-1, 60))
def test_same_as_a_set(added: list[tuple[int, int]], dropped: int) -> None:
    """In whatever order ranges come, each number is found with its range's end and the next range's start, and there
    are no more ranges than runs. What was dropped is gone, but for a range that reaches beyond."""
    ranges, plain = Ranges(100), set[int]()
    for first, length in added:
        ranges.add(first, first + length)
        plain |= set(range(first, first + length + 1))
    firsts = [n for n in sorted(plain) if n - 1 not in plain]
    runs = [(first, next(n for n in range(first, 99) if n + 1 not in plain)) for first in firsts]
    for upto in (-1, dropped):
        ranges.drop(upto)
        runs = [run for run in runs if run[1] > upto]
        assert len(ranges) == len(runs)
        for n in range(-1, 60):
            assert ranges.end(n) == next((last for first, last in runs if first <= n <= last), None)
            assert ranges.after(n) == next((first for first, _ in runs if first > n), None)
            assert (n in ranges) == (ranges.end(n) is not None)


@given(st.permutations(range(0, 40, 2)))
def test_the_highest_are_forgotten(order: list[int]) -> None:
    """Of more ranges than it may keep, the lowest stay."""
    ranges = Ranges(7)
    for n in order:
        ranges.add(n, n)
    assert [n for n in range(40) if n in ranges] == list(range(0, 14, 2))
