"""The status of a running agent, asked over a local socket: connect, read one JSON document, done.

Law: what it answers is aggregate: states, counters, rates. Nothing of a window's result, nothing of a person.
"""

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from agent.config import Settings
from agent.errors import AccessError, UnavailableError

log = logging.getLogger(__name__)

SOCKET: Final = Path("/run/fer-agent/status.sock")
_TIMEOUT_S: Final = 2.0
_MOST_BYTES: Final = 1_000_000


def socket_path(settings: Settings) -> Path:
    """Where the status is asked for: beside the pause file, in the service manager's runtime folder."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    return Path(runtime.split(":")[0] if runtime else settings.privacy.pause_file.parent) / SOCKET.name


class StatusSocket:
    """Serves `report()` to whoever connects; a context manager with one thread. Without a socket the agent goes on.

    report: called in the socket's thread; must be quick and safe beside the loop
    """

    def __init__(self, path: Path, report: Callable[[], dict[str, Any]]) -> None:
        self._path, self._report = path, report
        self._server: socket.socket | None = None

    def __enter__(self) -> "StatusSocket":
        """Listen; a path that cannot be used is logged and the agent goes on without."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            server.bind(str(self._path))
            self._path.chmod(0o660)
            server.listen(4)
        except OSError as error:
            server.close()
            log.warning("event=status.no-socket path=%s reason=%r", self._path, str(error))
            return self
        self._server = server
        threading.Thread(target=self._serve, args=(server,), name="status", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return  # closed by __exit__
            with client, contextlib.suppress(OSError):
                client.settimeout(_TIMEOUT_S)  # a client that does not read must not hold the next one
                client.sendall(self._answer())

    def _answer(self) -> bytes:
        try:
            return json.dumps(self._report(), ensure_ascii=False).encode()
        except Exception as error:  # a bug in a report must not end the thread: say so instead
            log.exception("event=status.failed")
            return json.dumps({"error": type(error).__name__}).encode()


def ask(path: Path = SOCKET, timeout_s: float = 5.0) -> dict[str, Any]:
    """Return the report of the agent that runs here.

    Raises
    ------
    UnavailableError
        no agent listens there, or it does not answer
    AccessError
        this user may not ask
    """
    hint = "is it running? see: systemctl status fer-agent"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            found = json.loads(_read_all(client))
    except PermissionError as error:
        raise AccessError(f"{path}: permission denied; run: sudo -u fer-agent fer-agent status") from error
    except TimeoutError as error:
        raise UnavailableError(f"{path}: expected an answer within {timeout_s:g} s, got none; {hint}") from error
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UnavailableError(f"{path}: expected a running agent, got: {reason}; {hint}") from error
    if not isinstance(found, dict):
        raise UnavailableError(f"{path}: expected a JSON object, got {type(found).__name__}; {hint}")
    return found


def _read_all(client: socket.socket) -> bytes:
    parts = bytearray()
    while len(parts) < _MOST_BYTES and (part := client.recv(65536)):
        parts += part
    return bytes(parts)
