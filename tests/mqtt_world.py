"""A real mosquitto for tests, on a free port, with everything that can be done to it; and summaries to publish."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Identity, Mqtt, Settings
from agent.delivery.embedded import free_port
from agent.delivery.pace import Pace
from agent.delivery.payload import Provenance, Speaker
from agent.delivery.topics import Topics
from agent.records import Engagement, Summary

MADE_BY = Provenance("test-net", "ab" * 32, "litert", None, 60.0, "standard", 5, "sharma2019-affine/1")
FAST = Pace(rate=2000, spread_s=0.2, wait_min_s=0.05, wait_max_s=0.3, grace_s=0.1, fresh_s=1.0, drain_s=10)
"""The real delays, shortened where a test does not ask about them."""


class Mosquitto:
    """Context manager: a broker with its own folder. Its port stays the same over restarts."""

    def __init__(self, folder: Path, *lines: str, listener: str | None = None, anonymous: bool = True) -> None:
        self.binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if self.binary is None:
            pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(*lines, listener=listener, anonymous=anonymous)

    def configure(self, *lines: str, listener: str | None = None, anonymous: bool = True) -> None:
        """Write the configuration; a restart or SIGHUP makes it true."""
        base = [
            listener or f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'true' if anonymous else 'false'}",
            "persistence true",
            f"persistence_location {self.folder}/",
            f"log_dest file {self.folder}/mosquitto.log",
            *(["user root"] if os.geteuid() == 0 else []),
        ]
        self._config.write_text("\n".join([*base, *lines]) + "\n")

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen([self.binary, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        self.await_port("127.0.0.1")

    def await_port(self, host: str) -> None:
        """Wait until it listens at `host`."""

        def listens() -> bool:
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection((host, self.port), timeout=0.2):
                return True
            return False

        wait_until(listens, 20)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal, and wait for that. Mosquitto listens, and takes signals, a moment before it heeds them:
        one that came then is sent again."""
        for _ in range(10):
            self.send(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
                return
        raise TimeoutError(f"mosquitto does not end by signal {number}")

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal and start it again."""
        self.end(number)
        self.start()


def settings(port: int, agent: str = "fer", **mqtt: object) -> Settings:
    """Settings for an agent at 127.0.0.1:`port`."""
    identity = Identity(site="test", room="room", id=agent)
    return Settings(agent=identity, mqtt=Mqtt.model_validate({"host": "127.0.0.1", "port": port} | mqtt))


def speaker(agent: str = "fer", boot_id: str = "b0", started_ms: int = 1000) -> Speaker:
    """Who speaks."""
    return Speaker(Topics("test", "room", agent), boot_id, started_ms)


def summary(number: int, *, suppressed: str | None = None, at: float | None = None) -> Summary:
    """A plausible window; every `number` gives another one."""
    start = 60.0 * number if at is None else at
    if suppressed is not None:
        return Summary(start, start + 60, 60, 2, 2.0, 0.5, suppressed)
    value = 40 + (number * 7 % 300) / 10
    engagement = Engagement(value, (value - 5, value + 5), None, "sharma2019-affine/1")
    shares = (0.5, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05)
    return Summary(start, start + 60, 60, 12, 11.2, 0.93, None, engagement, 0.1, 0.2, 31.0, shares)


def wait_until(true: Callable[[], object], timeout: float, what: str = "") -> None:
    """Poll until `true()`; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, f"not within {timeout} s: {what or true}"
        time.sleep(0.01)
