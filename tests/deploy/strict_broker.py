"""A broker that takes few messages at once, and ends the connection of who sends more (MQTT 5, 3.3.4). Mosquitto
announces such a limit, too, but answers QoS 1 at once, so that it can never see it broken."""

import contextlib
import socket
import struct
import threading
import time
from typing import BinaryIO, Self

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12
_TOO_MANY = 0x93


class StrictBroker:
    """Context manager. For one client; it keeps no session and delivers nothing. A publish waits until `answer`."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Publishes without an answer that the next connection may have: its Receive Maximum."""
        self.slow_s = 0.0
        """Until a connection is welcomed, seconds."""
        self.broken = self.welcomes = 0
        """Connections that were ended for more; all that were accepted."""
        self.answered: list[bytes] = []
        """Payloads, in the order of the answers."""
        self.open: list[tuple[int, bytes]] = []
        """Publishes that wait for an answer: packet number, payload."""
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(10)

    def answer(self) -> None:
        """Answer one publish that waits, if there is one."""
        with self._lock:
            if self.open and self._client is not None:
                mid, payload = self.open.pop(0)
                self.answered.append(payload)
                self._client.sendall(struct.pack("!BBH", 0x40, 2, mid))

    def cut(self) -> None:
        """End the connection without a word."""
        with self._lock, contextlib.suppress(OSError):
            if self._client is not None:
                self._client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = self._listener.accept()
                self._client, self.open, limit = client, [], self.most
                with client, client.makefile("rb") as stream, contextlib.suppress(OSError, EOFError):
                    while True:
                        self._take(client, limit, *_packet(stream))
                self._client = None

    def _take(self, client: socket.socket, limit: int, first: int, body: bytes) -> None:
        if first >> 4 == _CONNECT:
            time.sleep(self.slow_s)
        with self._lock:
            if first >> 4 == _CONNECT:
                self.welcomes += 1
                client.sendall(bytes([0x20, 6, 0, 0, 3, 0x21]) + struct.pack("!H", limit))
            elif first >> 4 == _SUBSCRIBE:
                topics = body.count(b"fer/v1/")
                client.sendall(bytes([0x90, 3 + topics]) + body[:2] + bytes([0] + [1] * topics))
            elif first >> 4 == _PING:
                client.sendall(bytes([0xD0, 0]))
            elif first >> 4 == _PUBLISH:
                at = 2 + int.from_bytes(body[:2])
                self.open.append((int.from_bytes(body[at : at + 2]), body[at + 3 :]))  # no properties: one byte of 0
                if len(self.open) > limit:
                    self.broken += 1
                    client.sendall(bytes([0xE0, 1, _TOO_MANY]))
                    raise EOFError


def _packet(stream: BinaryIO) -> tuple[int, bytes]:
    """Read one packet: its first byte, and what follows the length."""
    first, length, shift = _read(stream, 1)[0], 0, 0
    while True:
        byte = _read(stream, 1)[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return first, _read(stream, length)
        shift += 7


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
