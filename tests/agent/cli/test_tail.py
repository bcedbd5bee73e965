"""`fer-agent tail`: what comes from a broker may be anything, and so may the broker."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli._live import WindowView, window_of
from agent.cli.tail import command
from agent.config import Mqtt
from agent.delivery import payload
from agent.delivery.payload import Speaker
from agent.delivery.subscribe import Subscriber
from agent.delivery.topics import Topics
from agent.delivery.wallclock import WallTime
from agent.errors import InputError, UnavailableError, UsageError
from tests.mqtt_world import MADE_BY, summary

_SPEAKER = Speaker(Topics("school", "room", "fer"), "boot", 0)
GOOD = json.loads(
    payload.window(
        summary(1), _SPEAKER, MADE_BY, WallTime(10**12, synced=True, source="ntp"), epoch="e", seq=1
    ).encode()
)
CONNACK, SUBACK, DENIED = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01", b"\x90\x04\x00\x01\x00\x87"
OLD, UNAUTHORISED, NO_WILDCARD = b"\x20\x02\x00\x01", b"\x20\x03\x00\x87\x00", b"\x20\x05\x00\x00\x02\x28\x00"
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"
ODD_TOPIC, MESSAGE = b"\x30\x06\x00\x02\xff\xfe\x00X", b"\x30\x05\x00\x01t\x00X"


@contextmanager
def broker(*answers: bytes, stays: bool = True) -> Iterator[Mqtt]:
    """Serve one connection: each packet that comes is answered with the next of `answers`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client = server.accept()[0]
            with client:
                for answer in answers:
                    client.recv(4096)
                    client.sendall(answer)
                if stays:
                    client.recv(4096)

        threading.Thread(target=serve, daemon=True).start()
        yield Mqtt(port=server.getsockname()[1])


@pytest.mark.parametrize(
    "change",
    [
        {"start_ms": 1e30}, {"start_ms": float("nan")}, {"start_ms": 10**400}, {"shares": [1]}, {"engagement": 5},
        {"suppressed": None, "engagement": None}, {"coverage": "much"}, {"engagement": {"value": 1, "ci95": []}},
        {"epoch": []}, {"site": {}}, {"agent": [1]}, {"valence": float("nan")}, {"later": float("inf")},
    ],
)  # fmt: skip
def test_a_window_with_an_impossible_field_is_none(change: dict[str, object]) -> None:
    """A field of the wrong kind or size makes it no window, without an error."""
    assert window_of(json.dumps(GOOD | change).encode()) is None


@pytest.mark.parametrize("message", [b"", b"\xff", b"[]", b"3", b"{}", b"[" * 100_000, b'"text"', b"null"])
def test_other_messages_are_no_windows(message: bytes) -> None:
    """Empty, binary and deeply nested messages are no windows, without an error."""
    assert window_of(message) is None


@pytest.mark.parametrize("key", ["site", "room", "agent", "epoch", "seq"])
def test_a_window_without_a_name_is_none(key: str) -> None:
    """A window of which nothing says whose or which it is can be no row of the table."""
    assert window_of(json.dumps({k: v for k, v in GOOD.items() if k != key}).encode()) is None


def test_keys_of_a_later_minor_version_are_let_be() -> None:
    """A window with a key that is not known is a window."""
    assert window_of(json.dumps(GOOD | {"later": 1}).encode()) == GOOD | {"later": 1}


def test_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and markup in a window's names are shown as plain characters."""
    with WindowView(as_json=False) as view:
        view.show(GOOD | {"room": "\x1b[2J[/red]", "suppressed": "\x07\nx"})
    shown = capsys.readouterr().err
    assert not {"\x1b", "\x07"} & set(shown)
    assert "school/[2J[/red]" in shown


@pytest.mark.parametrize("option", ["--site=#", "--room=a/b", "--agent=Ü", "--site="])
def test_a_name_that_is_none_is_a_usage_error(option: str) -> None:
    """A name that no topic can have is refused before anything is connected."""
    with pytest.raises(UsageError, match="expected letters a-z"):
        command.main([option, "--broker", "127.0.0.1:1"], standalone_mode=False)


def test_an_authority_that_is_none_is_named_by_its_option(tmp_path: Path) -> None:
    """The file of --ca-file is an input of the command, no configuration."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(InputError, match=r"^--ca-file: expected a PEM certificate"):
        command.main(["--ca-file", str(tmp_path / "ca.pem"), "--broker", "127.0.0.1:1"], standalone_mode=False)


@pytest.mark.parametrize(
    ("answers", "stays", "says"),
    [
        (
            (b"",),
            False,
            r"without an answer: is it an MQTT broker's port \(--broker\), or does it want TLS \(--ca-file\)",
        ),
        ((b"",), False, r"or does it speak MQTT 3\.1\.1 alone \(--mqtt-version 3\.1\.1\)\?"),
        ((OLD,), False, r"refused: Unsupported protocol version; give --mqtt-version 3\.1\.1"),
        ((UNAUTHORISED,), False, "refused: Not authorized; check --username and FER_MQTT_PASSWORD"),
        ((NO_WILDCARD,), True, "takes no wildcard in a subscription"),
        ((HTTP,), False, "ended the connection without an answer"),
        ((CONNACK, b""), False, r"over what is to be read: does its ACL let the anonymous user read fer/v1/\+\?"),
        ((CONNACK, DENIED), True, r"does not let us read fer/v1/\+: Not authorized"),
    ],
)
def test_a_broker_that_is_none_or_refuses_is_told_at_once(answers: tuple[bytes, ...], stays: bool, says: str) -> None:
    """A port that speaks something else, and a refused subscription, are errors that say so."""
    with (
        broker(*answers, stays=stays) as mqtt,
        pytest.raises(UnavailableError, match=says),
        Subscriber(mqtt, ["fer/v1/+"]),
    ):
        pass


def test_a_topic_that_is_no_text_is_skipped() -> None:
    """A message whose topic is not UTF-8 is skipped, and the next one comes."""
    with broker(CONNACK, SUBACK + ODD_TOPIC + MESSAGE) as mqtt, Subscriber(mqtt, ["t"]) as subscriber:
        message = subscriber.get(20)
    assert message is not None
    assert (message.topic, message.payload) == ("t", b"X")


def test_a_topic_that_nobody_asked_for_is_skipped() -> None:
    """A broker that sends what is retained elsewhere, as amqtt does, is not believed to have been asked for it."""
    other = MESSAGE.replace(b"t", b"o")
    with broker(CONNACK, SUBACK + other + MESSAGE) as mqtt, Subscriber(mqtt, ["t"]) as subscriber:
        message = subscriber.get(20)
    assert message is not None
    assert message.topic == "t"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_newest_window_is_seen_on_any_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row is one line, and no more rows are shown than the terminal has lines: the newest is among them, and rooms
    are told apart by their whole names."""
    for name, value in {"COLUMNS": str(columns), "LINES": "24", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with WindowView(as_json=False) as view:
        for seq in range(1, 16):
            capsys.readouterr()
            view.show(
                GOOD
                | {"seq": seq, "site": "s", "room": f"room-{seq}", "engagement": GOOD["engagement"] | {"value": seq}}
            )
        shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err)
    for seq in (1, 15):
        lines = [line for line in shown.splitlines() if f"s/room-{seq} " in line]
        assert len(lines) == 1
        assert f" {seq} " in f"{lines[0]} "
    assert len(shown.splitlines()) < 24


def test_rooms_that_have_no_line_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of more rooms than the terminal has lines the table says how many it leaves out."""
    for name, value in {"COLUMNS": "80", "LINES": "24", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with WindowView(as_json=False, rooms=True) as view:
        for number in range(60):
            view.show(GOOD | {"room": f"room-{number}"})
    assert "44 more: --site and --room choose" in capsys.readouterr().err
