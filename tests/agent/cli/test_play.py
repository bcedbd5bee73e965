import pytest

from agent.cli._play import Playing


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
