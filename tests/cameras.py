"""Cameras for tests: a real MJPEG server on loopback that can misbehave, and a script for a fake driver."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.errors import UnavailableError
from agent.records import Frame


def picture(number: int = 0, size: tuple[int, int] = (120, 160), seed: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture full of edges, uint8 (h, w, 3) BGR; another `number` gives other noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(30, 220, (size[0] // 8, size[1] // 8, 3))
    scene = np.kron(blocks, np.ones((8, 8, 1)))
    noise = np.random.default_rng(number).normal(0, 4, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


def film(path: Path, frames: int, codec: str = "MJPG", fps: float = 1) -> str:
    """Write a film of so many frames; return its path."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (160, 120))
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return str(path)


class FakeDriver:
    """A grabber that sends a picture every `interval_s`; tests turn its knobs while it runs."""

    def __init__(self, interval_s: float = 0.02) -> None:
        self.interval_s = interval_s
        self.present = True
        self.stalled = threading.Event()
        self.frozen = False
        self.broken = False
        self.size = (120, 160)
        self.opened = self.closed = self.grabbed = self.decoded = 0
        self._stall_over = threading.Event()

    def connect(self) -> "FakeDriver":
        """Open it, as `GrabLoop` does."""
        self.opened += 1
        if not self.present:
            self.closed += 1
            raise UnavailableError("expected a camera, got none")
        return self

    def grab(self) -> bool:
        while self.stalled.is_set():
            time.sleep(0.01)
        time.sleep(self.interval_s)
        self.grabbed += 1
        return self.present

    def retrieve(self) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        self.decoded += 1
        return None if self.broken else picture(0 if self.frozen else self.grabbed, self.size)

    def close(self) -> None:
        self.closed += 1


class MjpegServer:
    """multipart/x-mixed-replace over HTTP, as network cameras do it."""

    def __init__(self, interval_s: float = 0.05, port: int = 0) -> None:
        self.interval_s = interval_s
        self.mode = "live"
        """"live", "stall" (connection open, no byte), "close" (hang up), "garbage" (broken JPEGs)."""
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def jpeg(self, number: int) -> bytes:
        """Return the picture sent as the `number`th."""
        return bytes(cv2.imencode(".jpg", picture(number))[1])

    def stop(self) -> None:
        self._ended.set()
        self._socket.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
        number = 0
        with client:
            try:
                client.recv(4096)
                client.sendall(head)
                while not self._ended.is_set() and self.mode != "close":
                    if self.mode != "stall":
                        number += 1
                        jpeg = self.jpeg(number)
                        if self.mode == "garbage":
                            jpeg = jpeg[:20] + bytes(len(jpeg) - 20)
                        client.sendall(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                        client.sendall(jpeg + b"\r\n")
                    time.sleep(self.interval_s)
            except OSError:
                return


@contextmanager
def mjpeg_server(interval_s: float = 0.05, port: int = 0) -> Iterator[MjpegServer]:
    """Serve until the block ends."""
    server = MjpegServer(interval_s, port)
    try:
        yield server
    finally:
        server.stop()


def until(frames: Iterator[Frame], wanted: Callable[[Frame], bool], seconds: float = 10) -> list[Frame]:
    """Return the frames up to the first that is wanted."""
    seen = []
    end = time.monotonic() + seconds
    for frame in frames:
        seen.append(frame)
        if wanted(frame):
            return seen
        assert time.monotonic() < end, f"never came; got {[f.trouble for f in seen][-20:]}"
    raise AssertionError("the camera ended")
