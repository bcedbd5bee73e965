"""A broker of MQTT 3.1.1 that ends the connection of who publishes or reads what it forbids, without a word, as
RabbitMQ does. (Mosquitto takes it, and throws it away.) And a port that says one thing to everybody."""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Self

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12


class CurtBroker(socketserver.ThreadingTCPServer):
    """Context manager. It keeps nothing, and delivers nothing."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, *forbidden: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.forbidden = set(forbidden)
        """Last parts of the topics that nobody may publish to; "#": nobody may read anything."""
        self.welcomes = 0
        self.taken: list[str] = []
        """Topics of the publishes that were answered."""
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: CurtBroker

    def handle(self) -> None:
        while (packet := _packet(self.rfile)) is not None:
            first, body = packet
            if first >> 4 == _CONNECT:
                self.server.welcomes += 1
                self.wfile.write(b"\x20\x02\x00\x00")
            elif first >> 4 == _SUBSCRIBE:
                if "#" in self.server.forbidden:
                    return
                topics = body.count(b"/")  # more than there are; nobody counts the rest
                self.wfile.write(bytes([0x90, 2 + topics]) + body[:2] + bytes([1] * topics))
            elif first >> 4 == _PING:
                self.wfile.write(b"\xd0\x00")
            elif first >> 4 == _PUBLISH and first & 6:
                end = 2 + int.from_bytes(body[:2])
                topic = body[2:end].decode()
                if topic.rpartition("/")[2] in self.server.forbidden:
                    return
                self.server.taken.append(topic)
                self.wfile.write(struct.pack("!BB", 0x40, 2) + body[end : end + 2])


def _packet(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Read one packet: its first byte, and what follows the length; None at the end."""
    first, length, shift = stream.read(1), 0, 0
    while first and (byte := stream.read(1)):
        length |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return first[0], stream.read(length)
        shift += 7
    return None


@contextmanager
def answering(answer: bytes, heard: list[bytes]) -> Iterator[int]:
    """A port that answers what each connection says first with `answer`, and keeps what it says then."""

    def serve(client: socket.socket) -> None:
        with client:
            client.recv(4096)
            client.sendall(answer)
            heard.append(client.recv(4096))

    with serving(serve) as port:
        yield port


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port each of whose connections is given to `serve`, in a thread of its own."""

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
