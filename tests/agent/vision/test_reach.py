"""A network camera that cannot be opened: each fault has its own words and its own cure, and no login in them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Camera, Settings
from agent.device import check_vision
from agent.device.checks import run
from agent.errors import UnavailableError
from agent.vision import reach
from agent.vision.stream import StreamGrabber
from tests.cameras import mjpeg_server
from tests.mqtt_world import free_port

QUICK = Camera(open_timeout_s=1.5, read_timeout_s=1)


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that takes no more connections and refuses none: its queue is full."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def said(source: str) -> str:
    """What an attempt to open `source` says."""
    with pytest.raises(UnavailableError) as caught:
        StreamGrabber(source, QUICK)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_port_that_refuses_is_named(scheme: str) -> None:
    """Nothing listens there: the port is what to check."""
    port = free_port()
    text = said(f"{scheme}://admin:hunter2@127.0.0.1:{port}/live")
    assert text.startswith(f"expected a camera at {scheme}://127.0.0.1:{port}/live, got none: ")
    assert f"127.0.0.1:{port} refuses connections; check the port" in text


def test_a_host_that_does_not_exist_is_named() -> None:
    """A name that nobody knows, or that cannot be asked for without a network, is called so."""
    text = said("rtsp://admin:hunter2@camera.invalid/live")
    assert "no such host 'camera.invalid'" in text or "host 'camera.invalid' cannot be looked up now" in text
    assert "no such host" in said(f"rtsp://{'x' * 70}.example/live")


def test_a_host_that_is_silent_is_named() -> None:
    """An address where nobody answers is told within `open_timeout_s`, and is no question of path or password."""
    with silent() as port:
        assert f"127.0.0.1:{port} does not answer; check that the camera has power" in said(f"rtsp://127.0.0.1:{port}/")


def test_a_camera_that_answers_and_sends_nothing_is_named() -> None:
    """The connection works and no stream comes: path or login are what to check."""
    with mjpeg_server() as server:
        server.mode = "close"
        text = said(f"http://admin:hunter2@127.0.0.1:{server.port}/wrong")
    assert f"127.0.0.1:{server.port} answers but sends no stream; check path, user and password" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_camera_that_hangs_is_named(scheme: str) -> None:
    """The system takes the connection, and the camera's program says nothing: neither path nor login is at fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"127.0.0.1:{port} takes connections and answers nothing" in said(f"{scheme}://127.0.0.1:{port}/live")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("rtsp://10.0.0.7/live", ("10.0.0.7", 554)),
        ("rtsps://10.0.0.7/live", ("10.0.0.7", 322)),
        ("http://10.0.0.7/live", ("10.0.0.7", 80)),
        ("https://u:p@camera:8443?x=1", ("camera", 8443)),
        ("https://camera", ("camera", 443)),
        ("rtsp://u:p@[fe80::1]:8554/live", ("fe80::1", 8554)),
        ("udp://239.0.0.1:5000", None),
        ("rtmp://10.0.0.7/live", None),
        ("rtsp://admin:p/hunter2@10.0.0.7/live", None),
        ("rtsp://10.0.0.7/live@2", None),
        ("rtsp://10.0.0.7:0/live", None),
        ("videotestsrc ! appsink", None),
    ],
)
def test_only_what_can_be_tried_is_tried(source: str, found: tuple[str, int] | None) -> None:
    """Host and port as FFmpeg takes them; none for other schemes, and none where host and login may be mixed up."""
    assert reach.place(source) == found


def test_behind_a_proxy_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg asks the proxy, which may reach what this device does not; RTSP knows none."""
    monkeypatch.setenv("http_proxy", "http://10.0.0.1:3128")
    assert reach.place("http://camera/live") is None
    assert reach.place("rtsp://camera/live") == ("camera", 554)


def test_the_doctor_names_what_to_check(tmp_path: Path) -> None:
    """The cure of a camera that refuses is no "see the message"."""
    policy = {"controller": "x", "purpose": "x", "legal_basis": "x", "consent": "x", "setting": "research"}
    settings = Settings.model_validate(
        {
            "agent": {"state_dir": tmp_path},
            "camera": {"source": f"rtsp://127.0.0.1:{free_port()}/live", "open_timeout_s": 2, "read_timeout_s": 1},
            "policy": {**policy, "jurisdiction": "CH"},
            "privacy": {"pause_file": tmp_path / "pause"},
        }
    )
    (got,) = run({"camera": lambda: check_vision.camera(settings)})
    assert got.verdict == "FAIL"
    assert got.found.endswith("refuses connections")
    assert got.mend.startswith("check the port")
