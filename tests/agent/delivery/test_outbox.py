"""What is sent next: live before late, late in order and slowly, few in flight."""

import pytest

from agent.delivery.outbox import Outbox
from agent.delivery.pace import Pace


def _drain(outbox: Outbox, now: float) -> list[tuple[int, bool]]:
    """All that may be sent at `now`, answered at once."""
    sent = []
    while item := outbox.next(now):
        outbox.sent(len(sent), item)
        outbox.taken(len(sent))
        sent.append((item.position, item.replay))
    return sent


def test_live_windows_come_first() -> None:
    """A window that just closed passes the whole backlog, unflagged."""
    outbox = Outbox(rate=1000)
    outbox.add_late([1, 2, 3])
    outbox.add_live(9)
    assert _drain(outbox, 100.0)[0] == (9, False)


def test_the_backlog_is_bounded_in_rate() -> None:
    """In ten seconds at 20 a second no more than 200 late ones and half a second's burst, oldest first."""
    outbox = Outbox(rate=20)
    outbox.add_late(range(1000), not_before=0.0)
    sent = [p for tick in range(1001) for p, _ in _drain(outbox, tick / 100)]
    assert 190 <= len(sent) <= 211
    assert sent == sorted(sent)


def test_the_backlog_waits_for_the_retained_ack() -> None:
    """Nothing late before `not_before`: the ack that comes meanwhile may make it needless."""
    outbox = Outbox(rate=1000)
    outbox.add_late([1], not_before=5.0)
    assert outbox.next(4.9) is None
    assert outbox.wait(4.0) == pytest.approx(1.0)
    assert outbox.next(5.0).position == 1


def test_no_more_than_the_broker_takes_in_flight() -> None:
    """Sixteen without an answer; the next one goes when one is answered."""
    outbox = Outbox(rate=1000)
    for position in range(40):
        outbox.add_live(position)
    for mid in range(16):
        outbox.sent(mid, outbox.next(0.0))
    assert outbox.next(0.0) is None
    assert outbox.wait(0.0) is None
    assert outbox.taken(3).position == 3
    assert outbox.next(0.0).position == 16


def test_nothing_is_queued_twice() -> None:
    """Queued or in flight already: asking again changes nothing."""
    outbox = Outbox(rate=1000)
    outbox.add_live(1)
    assert not outbox.idle, "a stop must wait for it"
    outbox.add_live(1)
    outbox.sent(7, outbox.next(0.0))
    outbox.add_live(1)
    outbox.add_late([1, 2, 2])
    assert _drain(outbox, 10.0) == [(2, True)]
    assert not outbox.idle
    outbox.taken(7)
    assert outbox.idle


def test_a_lost_connection_forgets_all() -> None:
    """The spool has it; after the next connect it is queued again."""
    outbox = Outbox(rate=1000)
    outbox.add_live(1)
    outbox.sent(1, outbox.next(0.0))
    outbox.add_late([2])
    outbox.reset()
    assert outbox.idle
    outbox.add_live(1)
    assert outbox.next(0.0).position == 1


def test_waits_grow_to_a_bound_with_jitter() -> None:
    """1 → 60 s, half of it random; a herd is spread over 25 s from the first second on."""
    pace = Pace()
    for failures in range(40):
        longest = min(60.0, 2.0**failures)
        assert all(longest / 2 <= pace.wait(failures, herd=False) <= longest for _ in range(20))
    herd = [pace.wait(0, herd=True) for _ in range(2000)]
    assert min(herd) >= 1.0
    assert 20 < max(herd) - min(herd) <= 25
