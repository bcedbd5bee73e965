from pathlib import Path

import pytest

from agent.cli._play import Playing
from agent.cli.replay import command
from agent.errors import UsageError


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
    )
    assert options.settings("x.mp4", options.address()).agent.id == expected


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
