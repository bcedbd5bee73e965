"""Order, holes and acknowledgements of one stream."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.collector.streams import ANSWERS, LONGEST_ASK, REORDER_S, RETRY_S, SILENCE_S, Hole, Streams


def opened(upto: int = 0) -> Streams:
    streams = Streams()
    streams.open(1, upto, 0.0)
    return streams


@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 29), max_size=10))
def test_any_order_ends_complete(order: list[int], again: list[int]) -> None:
    """However windows arrive, with whatever duplicates, all are acknowledged in the end and no hole is left."""
    streams = opened()
    for seq in order + again:
        streams.add(1, [seq], 0.0)
    assert streams.moved() == {1: 29}
    assert not streams.due(1e9)


@given(st.sets(st.integers(1, 40), max_size=39))
def test_never_acknowledges_past_a_hole(seqs: set[int]) -> None:
    """What is acknowledged is exactly the unbroken run from the start."""
    streams = opened()
    streams.add(1, seqs, 0.0)
    run = next(n for n in range(1, 42) if n not in seqs) - 1
    assert streams.moved() == ({1: run} if run else {})


def test_what_others_have_is_no_hole() -> None:
    """A collector beside this one, or an earlier room of the device, has all up to a number, however far: it
    is complete, and not called lost."""
    streams = opened(3)
    streams.add(1, [2**40 + 1], 100.0)
    streams.reach(1, 2**40, 100.0)
    streams.reach(1, 2, 100.0)
    assert (streams.upto(1), streams.due(1e9), streams.take_gone()) == (2**40 + 1, [], {})


def test_hole_is_asked_for_after_the_timer() -> None:
    """A hole counts only once it outlives the reorder timer."""
    streams = opened(3)
    streams.add(1, [7, 9], 100.0)
    assert streams.due(100.0 + REORDER_S - 0.1) == []
    assert streams.due(100.0 + REORDER_S) == [Hole(1, 4, 6)]


def test_asking_again_takes_longer_each_time() -> None:
    """The same hole is asked for again with growing pauses, for ever."""
    streams, at, pauses = opened(), 0.0, []
    streams.add(1, [5], at)
    for _ in range(7):
        before = at
        while not streams.due(at):
            at += 0.5
        streams.asked(streams.due(at)[0], at)
        pauses.append(at - before)
    assert pauses == [REORDER_S, *RETRY_S, RETRY_S[-1]]


def test_long_hole_is_asked_for_in_parts() -> None:
    """One request asks for a bounded number of windows."""
    streams = opened()
    streams.add(1, [100_000], 0.0)
    assert streams.asked(streams.due(10.0)[0], 10.0) == Hole(1, 1, LONGEST_ASK)


def test_progress_restarts_the_timer() -> None:
    """While a backlog comes in, nothing is asked for twice."""
    streams = opened()
    streams.add(1, [50], 0.0)
    for seq in range(1, 40):
        streams.add(1, [seq], float(seq))
        assert streams.due(seq + REORDER_S - 0.1) == []


def test_declared_loss_closes_the_hole() -> None:
    """Windows that the agent says do not exist are passed over, in whatever order the news comes."""
    streams = opened()
    streams.mark_all_lost(1, [(3, 5)], 0.0)
    streams.add(1, [1, 2, 6], 0.0)
    assert streams.moved() == {1: 6}


def test_a_loss_is_believed_no_further_than_there_are_numbers() -> None:
    """A declared loss that reaches beyond the newest known number moves nothing there: an ack of numbers that were
    never used is none that an agent can take. It counts as soon as the numbers are known to exist."""
    streams = opened()
    streams.add(1, range(1, 11), 0.0)
    streams.mark_all_lost(1, [(11, 50_000)], 0.0)
    assert streams.moved() == {1: 10}
    streams.add(1, [13], 0.0)
    assert streams.moved() == {1: 13}
    streams.expect(1, 15, 0.0)
    assert streams.moved() == {1: 15}


def test_what_is_passed_over_without_a_window_is_known_once() -> None:
    """Of a declared loss only what no window came of is gone: not what was stored within it, and told once."""
    streams = opened()
    streams.add(1, [1, 4, 5], 0.0)
    streams.mark_all_lost(1, [(1, 7)], 0.0)
    assert streams.take_gone() == {1: [(2, 3)]}
    streams.expect(1, 9, 0.0)
    assert (streams.take_gone(), streams.take_gone()) == ({1: [(6, 7)]}, {})


class Counted(int):
    """A number that counts how often it is compared."""

    compared = 0

    def _noting(compare: Any) -> Any:
        def noting(self: int, other: int) -> bool:
            Counted.compared += 1
            return compare(self, other)

        return noting

    __lt__, __le__, __gt__ = _noting(int.__lt__), _noting(int.__le__), _noting(int.__gt__)
    __ge__, __eq__, __hash__ = _noting(int.__ge__), _noting(int.__eq__), int.__hash__


@pytest.mark.parametrize("size", [1, 1000])
def test_gaps_beyond_a_hole_cost_what_they_are(size: int) -> None:
    """Thousands of gaps with a number between each two, in batches or one by one, read again or new: each is compared
    with few of the others, however many there are."""
    gaps = [(Counted(n), Counted(n)) for n in range(10, 8010, 2)]
    streams = opened()
    streams.expect(1, 10**9, 0.0)
    Counted.compared = 0
    for at in (0.0, 9.0):
        for start in range(0, len(gaps), size):
            streams.mark_all_lost(1, gaps[start : start + size], at)
        assert streams.due(at + REORDER_S) == [Hole(1, 1, 9)]
    assert Counted.compared < 100 * len(gaps)


def test_of_too_many_gaps_the_nearest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream's memory is bounded, and what is forgotten is what is needed last."""
    monkeypatch.setattr("deploy.collector.streams._MOST_AHEAD", 3)
    streams = opened()
    streams.expect(1, 100, 0.0)
    streams.mark_all_lost(1, [(n, n) for n in (50, 40, 30, 20, 10)], 0.0)
    streams.add(1, [*range(1, 10), *range(11, 20), *range(21, 30)], 0.0)
    assert streams.moved() == {1: 30}
    streams.add(1, range(31, 40), 0.0)
    assert streams.moved() == {1: 39}


def test_end_of_stream_is_noticed() -> None:
    """A window that the agent has used and nobody saw is a hole, though nothing came after it."""
    streams = opened(4)
    streams.expect(1, 6, 0.0)
    assert streams.due(REORDER_S) == [Hole(1, 5, 6)]


def test_hole_is_given_up_only_after_answers() -> None:
    """An agent that does not answer is asked for ever; one that answers without the windows, three times."""
    streams = opened()
    streams.add(1, [2], 0.0)
    hole = streams.due(10.0)[0]
    for n in range(10):
        streams.asked(hole, 10.0 + n)
    assert not streams.hopeless(hole)
    for _ in range(ANSWERS):
        streams.answered(Hole(1, 7, 7))
    assert not streams.hopeless(hole)
    for _ in range(ANSWERS):
        streams.answered(hole)
    assert streams.hopeless(hole)


def test_who_sends_again_is_told_again() -> None:
    """A window that comes although it was acknowledged is acknowledged again: its agent has not heard."""
    streams = opened()
    streams.add(1, [1, 2], 0.0)
    streams.acked(streams.moved())
    assert streams.moved() == {}
    streams.add(1, [2], 1.0)
    assert streams.moved() == {1: 2}


def test_silence_counts_from_the_last_news_after_the_hole_was_known() -> None:
    """A hole that was asked for before its agent came back, and of whose stream nothing new came for long after that:
    what is there already is no news."""
    streams, hole, back = opened(), Hole(1, 1, 2), 20.0
    streams.add(1, [3], 0.0)
    assert not streams.silent(hole, back, 1e6), "nobody has asked"
    streams.asked(hole, 10.0)
    assert not streams.silent(hole, 10.0, 1e6), "it came back before"
    assert not streams.silent(hole, back, back + SILENCE_S - 1)
    assert streams.silent(hole, back, back + SILENCE_S)
    streams.add(1, [5], 100.0)
    streams.add(1, [3, 5], 200.0)
    assert not streams.silent(hole, back, 100 + SILENCE_S - 1)
    assert streams.silent(hole, back, 100 + SILENCE_S)


def test_no_more_is_given_up_than_every_answer_was_about() -> None:
    """Answers to longer and shorter questions after the same number: the shortest of them counts."""
    streams = opened()
    streams.add(1, [9], 0.0)
    for last in (8, 3, 5):
        streams.asked(Hole(1, 1, 8), 0.0)
        streams.answered(Hole(1, 1, last))
    assert streams.hopeless(Hole(1, 1, 8)) == Hole(1, 1, 3)
