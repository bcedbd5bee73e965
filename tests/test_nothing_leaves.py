"""A trace of the whole program: nothing but numbers is written, and nothing is sent but to the broker."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.mqtt_world import Mosquitto
from tests.syscalls import Trace, trace

ROOT = Path(__file__).resolve().parent.parent

LARGEST = 4608
"""Bytes of one write: a window of 4 KB with its topic. The smallest picture of a face that is classified, 24 x 24
grey, has 576: hence the two limits below, which see any of it inside a write of a kilobyte."""
BINARY = 64
"""Bytes of one write that are no text, zeros aside: MQTT's and the spool's headers."""
UNBROKEN = 160
"""Longest run of base64 characters: a hash has 64, an id 96. 576 bytes of picture in base64 have 768."""
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"\x00\x00\x00 ftyp", b"\x93NUMPY", b"BM6")


def leaks(seen: Trace) -> list[str]:
    """Everything in a trace that could carry a picture, in words."""
    found = [f"shared memory or copy: {way}" for way in seen.shared]
    for target, parts in seen.written.items():
        for part in parts:
            binary = sum(byte not in b"\0\t\n\r\x1b" and not 32 <= byte < 127 for byte in _without_utf8(part))
            run = max((len(m) for m in re.findall(rb"[A-Za-z0-9+/=_-]+", part)), default=0)
            if len(part) > LARGEST or binary > BINARY or run > UNBROKEN or any(magic in part for magic in PICTURES):
                found.append(f"{target}: a write of {len(part)} bytes, {binary} binary, longest run {run}")
    return found


def _without_utf8(part: bytes) -> bytes:
    """Without well-formed typographic characters ("…", "─"), which tables and log lines have."""
    return re.sub(rb"[\xc2\xc3][\x80-\xbf]|\xe2[\x80-\x9f][\x80-\xbf]", b"", part)


def outside(seen: Trace, port: int) -> list[str]:
    """Peers other than the broker at 127.0.0.1:`port`.

    Aside: this machine's name service and service manager, the status socket (a file of this machine), and paho's
    wake-up pair, a loopback connection of the process with itself over which nothing but single bytes goes.
    """
    own = {m[1] for text in seen.listening if (m := re.search(r"TCP:\[127\.0\.0\.1:(\d+)\]", text))}
    pairs = {p for p in own if all(len(part) == 1 for part in _sent(seen, p))}
    ports = "|".join((str(port), *pairs))
    allowed = re.compile(
        rf'sin_port=htons\(({ports})\), sin_addr=inet_addr\("127\.0\.0\.1"\)|/nscd/socket|/systemd/notify'
    )
    foreign = [peer for peer in seen.peers if not allowed.search(peer)]
    mine = (*(f"127.0.0.1:{p}]" for p in pairs), "/status.sock")
    return foreign + [text for text in seen.listening if not any(part in text for part in mine)]


def _sent(seen: Trace, port: str) -> list[bytes]:
    """Everything written over the connections of a local port, from either end."""
    ends = (f"127.0.0.1:{port}->", f"->127.0.0.1:{port}]")
    return [part for target, parts in seen.written.items() if any(e in target for e in ends) for part in parts]


LEAKING = """
import base64, socket, sys, mmap, os
import numpy as np
face = np.random.default_rng(1).integers(0, 256, (24, 24), dtype=np.uint8)
kind, path = sys.argv[1:]
if kind == "raw":
    open(path, "wb").write(face.tobytes())
elif kind == "base64":
    open(path, "w").write('{"engagement": 61, "note": "' + base64.b64encode(face.tobytes()).decode() + '"}')
elif kind == "jpeg":
    import cv2
    open(path, "wb").write(b'{"a": 1}' + cv2.imencode(".jpg", face)[1].tobytes())
elif kind == "mapped":
    open(path, "wb").write(b"0" * 100)
    with open(path, "r+b") as file:
        mmap.mmap(file.fileno(), 0)[:50] = face.tobytes()[:50]
elif kind == "socket":
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).sendall(face.tobytes())
elif kind == "large":
    open(path, "w").write(" ".join(str(v) for v in np.tile(face, (3, 3)).ravel()))
"""


@pytest.mark.parametrize("kind", ["raw", "base64", "jpeg", "mapped", "socket", "large"])
def test_a_leak_would_be_seen(tmp_path: Path, kind: str) -> None:
    """One 24 x 24 face, written raw, as base64, as JPEG, through a mapping, to a socket or as numbers, is found."""
    seen, done = trace([sys.executable, "-c", LEAKING, kind, str(tmp_path / "out")], tmp_path / "trace")
    assert done.returncode == 0, done.stderr
    assert len(leaks(seen)) == 1
    assert bool(outside(seen, 1)) is (kind == "socket")


def test_quiet_programs_leak_nothing(tmp_path: Path) -> None:
    """A program that prints a line of JSON is clean."""
    seen, _ = trace([sys.executable, "-c", "print('{\"engagement\": 61}')"], tmp_path / "trace")
    assert leaks(seen) == []
    assert seen.total == len('{"engagement": 61}\n')


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """Port of a real mosquitto on this machine."""
    with Mosquitto(tmp_path / "broker") as made:
        yield made.port


@pytest.fixture
def whole_run(demo_clip: Path, tmp_path: Path, broker: int) -> tuple[Trace, list[dict[str, object]], int]:
    """A replay of eight people, published to a broker: its trace, its windows, the broker's port."""
    command = [sys.executable, "-B", "-m", "agent", "replay", str(demo_clip), "--json"]
    options = ["--window", "3", "--k-min", "2", "--broker", f"127.0.0.1:{broker}"]
    seen, done = trace([*command, *options], tmp_path / "trace", cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    return seen, [json.loads(line) for line in done.stdout.splitlines()], broker


def test_no_write_is_as_large_as_a_picture(whole_run: tuple[Trace, list[dict[str, object]], int]) -> None:
    """From video to broker: windows with results were published, and no write to any file, pipe or socket could
    hold a face; no memory is shared, nothing is copied by the kernel."""
    seen, windows, _ = whole_run
    assert sum(window["suppressed"] is None for window in windows) >= 3, "the run had something to leak"
    assert leaks(seen) == []
    assert 1000 < seen.total < 16_384 * len(windows) + 65_536


def test_the_broker_is_the_only_peer(whole_run: tuple[Trace, list[dict[str, object]], int]) -> None:
    """No connection, no datagram and no listening socket but the one connection to the broker."""
    seen, _, port = whole_run
    assert outside(seen, port) == []
    assert any(f"htons({port})" in peer for peer in seen.peers), "the broker was reached"


def quarter(clip: Path, target: Path, seconds: int) -> Path:
    """Write the upper left quarter of the demo's classroom, round and round: a few people, two tiles, quick to look at
    while every call is traced."""
    pictures, capture = [], cv2.VideoCapture(str(clip))
    while (read := capture.read())[0]:
        pictures.append(read[1][:360, :640])
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 360))
    for number in range(10 * seconds):
        writer.write(pictures[number % len(pictures)])
    writer.release()
    return target


def test_the_service_leaks_nothing(demo_clip: Path, tmp_path: Path, broker: int) -> None:
    """The same of `fer-agent run` with its spool, audit log, status socket and state: nothing but numbers is written,
    and the broker is the only peer."""
    clip = quarter(demo_clip, tmp_path / "room.avi", seconds=24)
    (tmp_path / "agent.toml").write_text(
        f'[agent]\nstate_dir = "{tmp_path}/state"\n[camera]\nsource = "{clip}"\nfps = 2\n[detect]\n'
        f'smallest_face_px = 40\n[engagement]\nwindow_s = 22\n[privacy]\nk_min = 2\npause_file = "{tmp_path}/pause"\n'
        f"[mqtt]\nport = {broker}\n"
    )
    command = [sys.executable, "-B", "-m", "agent", "run", "--config", str(tmp_path / "agent.toml")]
    seen, done = trace(command, tmp_path / "trace", cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr
    kept = b"".join(part for target, parts in seen.written.items() if "/state/spool/" in target for part in parts)
    assert b'"engagement":{"value"' in kept, "the run had something to leak"
    assert any(f"htons({broker})" in peer for peer in seen.peers), "the broker was reached"
    assert leaks(seen) == []
    assert outside(seen, broker) == []
