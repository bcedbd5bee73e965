"""Which pictures of a stream are old, by the stream's clock and ours."""

import itertools

import pytest

from agent.vision.backlog import Backlog


def passed(pictures: list[tuple[float, float]], began: float = 100) -> list[float]:
    """When the pictures that are not old were taken; `pictures`: (taken, came), seconds."""
    backlog = Backlog(began)
    return [taken for taken, came in pictures if not backlog.behind(taken, came)]


def live(start: float, number: int, late: float = 100.2) -> list[tuple[float, float]]:
    """Pictures 0.1 s apart that come as they are taken."""
    return [(start + n / 10, start + n / 10 + late) for n in range(number)]


QUEUED = [(0.0, 103.0), *((n / 10, 103 + n / 1000) for n in range(30))]
"""What FFmpeg hands out once it opened: the first two with the same time."""


def test_what_queued_while_it_opened_is_old() -> None:
    """Three seconds of pictures that come at once are passed over, save those of the last."""
    got = passed(QUEUED + live(3, 10))
    assert got[0] > 1.9
    assert got[-10:] == pytest.approx([n / 10 for n in range(30, 40)])


def test_a_busy_device_does_not_take_them_for_new() -> None:
    """While the queue is emptied the thread has to wait for its turn: what follows is still old."""
    slow = [(taken, came + 0.2 * (taken > 0.5)) for taken, came in QUEUED]
    assert passed(slow + live(3.2, 10))[0] > 1.9


def test_a_slow_handshake_is_no_lateness() -> None:
    """A camera that took five seconds before its first picture is not late for ever: soon every picture passes."""
    assert len(passed(live(0, 50, late=105))) > 40


def test_pictures_that_come_as_they_are_taken_pass() -> None:
    """A steady stream passes, also one whose pictures come in pairs."""
    assert len(passed(live(0, 50))) == 50
    assert len(passed([(n / 10, 100 + (n - n % 2) / 10 + 0.1) for n in range(50)])) == 50


def test_after_a_stall_the_old_ones_are_passed_over() -> None:
    """The network was stuck for 4 s: what it kept comes at once, and is not taken for new."""
    stuck = [(2 + n / 10, 106 + n / 1000) for n in range(40)]
    got = passed(live(0, 20) + stuck + live(6, 10))
    assert [taken for taken in got if 2 <= taken < 4.5] == []
    assert got[-10:] == pytest.approx([n / 10 for n in range(60, 70)])


@pytest.mark.parametrize("clock", [0.0, -368934881474191.0])
def test_a_stream_without_times_passes(clock: float) -> None:
    """HTTP MJPEG has no clock: whatever stands for it stands still."""
    assert len(passed([(clock, 100 + n / 60) for n in range(60)])) == 60
    assert len(passed([(clock, 104 + n / 60) for n in range(60)])) == 58


def test_a_clock_that_is_set_back_passes() -> None:
    """A camera that restarts its clock is measured anew."""
    assert len(passed(live(1000, 10, late=-900) + live(0, 10, late=101))) == 20


def test_drift_is_no_lateness() -> None:
    """A camera's clock that is 100 millionths slow, over a day at a picture in ten seconds."""
    backlog, got = Backlog(100), 0
    for second in range(0, 86_400, 10):
        got += not backlog.behind(second * (1 - 1e-4), 100 + second)
    assert got == 8_640
    assert backlog.late_s < 0.1


def test_nonsense_times_still_show_something() -> None:
    """A clock that stumbles back passes pictures, and a device that decodes too slowly is known by it."""
    assert len(passed([(n * 0.01, 100 + n / 10) for n in range(100)])) >= 3
    backlog = Backlog(100)
    for n in itertools.count():
        backlog.behind(n / 10, 100 + n / 5)
        if backlog.late_s > 10:
            break
    assert n == pytest.approx(106, abs=5)
