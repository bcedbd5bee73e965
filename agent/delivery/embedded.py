"""A broker in a child process, on 127.0.0.1 and a free port, for demo and replay. It never outlives its parent."""

import contextlib
import ctypes
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.errors import UnavailableError

_START_S: Final = 10.0
"""Longest wait for the child to listen, seconds."""
_TRIES: Final = 5
"""A free port can be taken by another program before the broker has it: then another one is tried."""
_PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>."""

_TOML: Final = """
id = 0
[router]
id = 0
max_connections = 1100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """Context manager: `with EmbeddedBroker() as broker: broker.host, broker.port`. MQTT 5 only.

    Enter it in a thread that outlives it (the main one): the kernel ties the child to that thread.
    """

    host: Final = "127.0.0.1"

    def __init__(self) -> None:
        """Raises UnavailableError if the package `iotcore` is not installed."""
        if importlib.util.find_spec("iotcore") is None:
            raise UnavailableError(
                "the embedded broker needs iotcore: pip install 'fer-agent[demo]', or give --broker host:port"
            )
        self.port = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it listens. Raises UnavailableError if it does not."""
        self._folder = tempfile.TemporaryDirectory(prefix="fer-broker-", ignore_cleanup_errors=True)
        for _ in range(_TRIES):
            self.port = free_port()
            config = Path(self._folder.name) / "broker.toml"
            config.write_text(_TOML.format(port=self.port), encoding="utf-8")
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, str(config), str(os.getpid())],
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the agent; the broker hears its goodbye first
            )
            if self._listens():
                return self
            self._end()
        self._folder.cleanup()
        raise UnavailableError(f"the embedded broker did not start within {_START_S:.0f} s; give --broker host:port")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of the child."""
        assert self._child is not None
        return self._child.pid

    def _listens(self) -> bool:
        """Wait until the child accepts connections; False if it ended or takes too long."""
        assert self._child is not None
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._child.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=0.5):
                # Another program may have taken the port: the child would have ended.
                time.sleep(0.05)
                return self._child.poll() is None
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        """Stop the child for certain; it keeps nothing, so it need not be asked twice."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with(parent: int) -> None:
    """End this process when `parent` ends: by the kernel's signal, and by the pipe where there is none."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _serve(config: str) -> None:
    """The child: run the broker until the parent ends."""
    from iotcore import IotCoreBroker  # an optional dependency, in the extra `demo`

    IotCoreBroker(config_path=config).run_forever()


if __name__ == "__main__":
    _die_with(int(sys.argv[2]))
    _serve(sys.argv[1])
