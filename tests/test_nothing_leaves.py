"""A trace of the whole program: nothing but numbers is written, and nothing is sent but to the broker."""

import re
import sys
from pathlib import Path

import pytest
from syscalls import Trace, trace

LARGEST = 4608
"""Bytes of one write: a window of 4 KB with its topic. The smallest picture of a face that is classified, 24 x 24
grey, has 576: hence the two limits below, which see any of it inside a write of a kilobyte."""
BINARY = 64
"""Bytes of one write that are no text: MQTT's and the spool's headers."""
UNBROKEN = 160
"""Longest run of base64 characters: a hash has 64, an id 96. 576 bytes of picture in base64 have 768."""
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"\x00\x00\x00 ftyp", b"\x93NUMPY", b"BM6")


def leaks(seen: Trace) -> list[str]:
    """Everything in a trace that could carry a picture, in words."""
    found = [f"shared memory or copy: {way}" for way in seen.shared]
    for target, parts in seen.written.items():
        for part in parts:
            binary = sum(byte not in b"\t\n\r\x1b" and not 32 <= byte < 127 for byte in _without_utf8(part))
            run = max((len(m) for m in re.findall(rb"[A-Za-z0-9+/=_-]+", part)), default=0)
            if len(part) > LARGEST or binary > BINARY or run > UNBROKEN or any(magic in part for magic in PICTURES):
                found.append(f"{target}: a write of {len(part)} bytes, {binary} binary, longest run {run}")
    return found


def _without_utf8(part: bytes) -> bytes:
    """Without well-formed typographic characters ("…", "─"), which tables and log lines have."""
    return re.sub(rb"[\xc2\xc3][\x80-\xbf]|\xe2[\x80-\x9f][\x80-\xbf]", b"", part)


def outside(seen: Trace, port: int) -> list[str]:
    """Connections to anything but the broker at 127.0.0.1:`port`; sockets of this machine's name service aside."""
    allowed = (f'sin_port=htons({port}), sin_addr=inet_addr("127.0.0.1")', "/nscd/socket", "/run/systemd/notify")
    return [c for c in seen.connections if not any(a in c for a in allowed)]


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
