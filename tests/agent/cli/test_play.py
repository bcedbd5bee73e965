"""What a played video says in its table and its last lines."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli._live import WindowView
from agent.cli._play import Playing, Tally
from agent.cli.replay import command
from agent.errors import UsageError
from agent.vision.video import VideoFile


@pytest.mark.parametrize(
    ("hostname", "broker", "expected"),
    [
        ("lab", None, "replay"),
        ("Lab_7.school.example", "10.0.0.1:1883", "replay-lab-7"),
        ("-Röntgen-", "10.0.0.1:1883", "replay-r-ntgen"),
        ("", "10.0.0.1:1883", "replay-here"),
        ("x" * 64, "10.0.0.1:1883", "replay-" + "x" * 24),
    ],
)
def test_a_broker_of_others_gets_an_id_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, hostname: str, broker: str | None, expected: str
) -> None:
    """Two demos of one id would put each other out, again and again."""
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    options = Playing(
        as_json=True,
        window_s=5,
        fps=2,
        k_min=None,
        model="released",
        smallest_face=24,
        threads=1,
        seconds=None,
        broker=broker,
        mqtt_version="5",
    )
    assert options.settings("x.mp4", options.address()).agent.id == expected


def _window(frames: int, suppressed: str | None, *, partial: bool = False) -> dict[str, object]:
    return {"suppressed": suppressed, "partial": partial, "frames": frames, "start_ms": 0, "end_ms": 5000}


@pytest.mark.parametrize(
    ("windows", "film", "says"),
    [
        ([_window(10, "k_min")] * 2, True, "fewer than 5 people with enough samples; for a video file, --k-min 2"),
        ([_window(10, "k_min")] * 2, False, "fewer than 5 people with enough samples\n"),
        ([_window(4, "k_min")] * 2, True, "this machine looked at 8 of 20 frames: it is too slow or busy"),
        ([_window(2, "k_min", partial=True)], True, "it ended before its first window did"),
        ([_window(1, "k_min", partial=True)], True, "it has one frame: expected a film"),
        ([_window(10, None), _window(2, "k_min", partial=True)], True, "x: 2 windows, 1 withheld\n"),
    ],
)
def test_the_last_line_names_what_is_at_fault(
    windows: list[dict[str, object]], film: bool, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too few people, a machine that is too slow for them, or a film that is too short: each has its own remedy."""
    played = VideoFile("x.mp4", fps=2)
    played.late = 1
    tally = Tally(5, fps=2, played=played if film else None)
    for window in windows:
        tally.add(window)
    tally.tell("x")
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == (1 if "withheld\n" in says else 2)


def test_a_film_of_few_frames_is_no_slow_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time lapse has fewer than are asked for, and nothing came too late."""
    film = VideoFile(str(tmp_path / "v.avi"), fps=2)
    tally = Tally(5, fps=2, played=film)
    tally.add(_window(4, "k_min"))
    tally.tell("x")
    assert "the film has 4 of the 10 frames that --fps 2 asks for" in capsys.readouterr().err
    film.late += 1
    tally.tell("x")
    assert "too slow or busy" in capsys.readouterr().err


@pytest.mark.parametrize(("columns", "whole"), [(80, False), (140, True)])
def test_a_narrow_terminal_keeps_what_is_looked_for(columns: int, whole: bool) -> None:
    """At 80 columns time, index and interval are whole; what there is no room for is left out, not cut to a letter."""
    view = WindowView(as_json=False, one_room=True)
    view._console = Console(width=columns, force_terminal=True, color_system=None, file=StringIO())
    view._rows[1] = {
        "start_ms": 1_795_996_800_000, "end_ms": 1_795_996_805_000, "site": "north-school", "room": "room-204",
        "seq": 12, "replay": False, "partial": False, "seats": 8, "coverage": 0.92, "suppressed": None,
        "engagement": {"value": 72.0, "ci95": [59, 85]}, "valence": 0.3, "arousal": 0.2,
        "shares": {"neutral": 0.45, "happiness": 0.45},
    }  # fmt: skip
    view._console.print(view._table())
    told = view._console.file.getvalue()
    assert all(word in told for word in ("engagement", "interval", "59-85", ":00", "92%"))
    assert ("valence" in told, "room" in told) == (whole, whole)
    view._rows[1] |= {"suppressed": "k_min"}
    view._console.print(view._table())
    assert "withheld: k_min" in view._console.file.getvalue()


@pytest.mark.parametrize(("why", "seats"), [("k_min", "3"), ("camera.covered", "–"), ("paused", "–")])
def test_a_number_that_is_withheld_is_no_zero(why: str, seats: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a window without a result coverage says nothing, nor seats where the camera saw nothing."""
    window = {
        "start_ms": 1_795_996_800_000, "site": "north", "room": "b12", "agent": "fer", "epoch": "e", "seq": 1,
        "replay": False, "partial": False, "seats": 3 if why == "k_min" else 0, "coverage": 0.0, "suppressed": why,
    }  # fmt: skip
    with WindowView(as_json=False) as view:
        view.show(window)
    assert capsys.readouterr().err.splitlines()[1].split()[3:] == [seats, "–", "withheld:", why]


@pytest.mark.parametrize(
    ("options", "enough"),
    [
        (["--window", "1"], "--window 1 at --fps 2 is 2 frames a window; expected at least 5: --window 2.5 or --fps 5"),
        (
            ["--fps", "0.3"],
            "--window 5 at --fps 0.3 is 1.5 frames a window; expected at least 5: --window 16.7 or --fps 1",
        ),
    ],
)
def test_a_window_of_too_few_frames_is_a_usage_error(tmp_path: Path, options: list[str], enough: str) -> None:
    """What the options would have to be, by their own names; the numbers that it names are enough."""
    (tmp_path / "x.mp4").touch()
    with pytest.raises(UsageError) as caught:
        command.main([str(tmp_path / "x.mp4"), *options], standalone_mode=False)
    assert (str(caught.value), caught.value.exit_code) == (enough, 2)
