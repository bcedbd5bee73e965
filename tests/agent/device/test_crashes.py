"""Safe mode: which starts in a row are a crash loop, fed with plain numbers."""

import json
from pathlib import Path

import pytest

from agent.device.crashes import Starts
from tests.agent.device.test_device import Time


def begun(folder: Path, clock: Time, *gaps_s: float) -> list[bool]:
    """Start after each of these times, seconds, none of which ended well; return which starts were safe ones."""
    answers = []
    for gap_s in gaps_s:
        clock.now += gap_s
        answers.append(Starts(folder, clock=clock).begin())
    return answers


@pytest.mark.parametrize("gap_s", [6, 12.5, 30, 63, 75, 119])
def test_a_loop_of_slow_crashes_is_safe_mode(tmp_path: Path, gap_s: float) -> None:
    """A crash 7.5 s after the start, with the service manager's 5 s one every 12.5 s, and one just before the minute is
    over on a machine that is slow to begin: after five the sixth start is safe."""
    assert begun(tmp_path, Time(), *[gap_s] * 6) == [False] * 5 + [True]


def test_crashes_far_apart_are_no_loop(tmp_path: Path) -> None:
    """Five in more than ten minutes are five times bad luck."""
    assert not any(begun(tmp_path, Time(), *[151.0] * 20))


@pytest.mark.parametrize("gap_s", [12.5, 119])
@pytest.mark.parametrize(("lived_s", "safe"), [(30, True), (61, False), (605, False)])
def test_a_safe_start_that_lived_is_followed_by_a_normal_one(
    tmp_path: Path, gap_s: float, lived_s: float, safe: bool
) -> None:
    """Ended by hand after a minute, or by itself after ten; killed before, the next one is safe, too."""
    clock = Time()
    begun(tmp_path, clock, *[gap_s] * 6)
    assert begun(tmp_path, clock, lived_s) == [safe]
    if not safe:
        assert begun(tmp_path, clock, *[gap_s] * 5) == [False] * 4 + [True]


def test_the_second_safe_start_counts_like_the_first(tmp_path: Path) -> None:
    """Killed in safe mode again and again, it stays there until a safe start lives."""
    clock = Time()
    assert begun(tmp_path, clock, *[12.5] * 40) == [False] * 5 + [True] * 35
    assert begun(tmp_path, clock, 61.0) == [False]


def test_good_ends_are_no_crashes(tmp_path: Path) -> None:
    """Starts that ended well do not count, however quickly they follow each other."""
    clock = Time()
    for _ in range(20):
        starts = Starts(tmp_path, clock=clock)
        assert not starts.begin()
        starts.survived()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'[1e999, true, null, "x"]', b"\xff", b"[" * 99999, b"[99999,99999,99999,99999,99999]"],
)
def test_a_broken_record_of_starts_is_none(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, the agent starts normally and records anew; times of the future do not count."""
    (tmp_path / "starts.json").write_bytes(content)
    assert not Starts(tmp_path, clock=Time()).begin()
    assert json.loads((tmp_path / "starts.json").read_bytes()) == [100.0]


def test_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Without a place for the record every start is a normal one."""
    (tmp_path / "file").touch()
    for _ in range(8):
        assert not Starts(tmp_path / "file" / "below").begin()
