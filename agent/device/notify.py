"""Tells the service manager how it goes (sd_notify), and feeds its watchdog only while every stage makes progress."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

_MOST_PARTS: Final = 3
"""The watchdog is fed this often per interval: systemd advises at least twice."""


class Notifier:
    """Speaks to the socket that systemd names in $NOTIFY_SOCKET; silent where there is none. Never raises."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, **fields: str | int) -> bool:
        """Send e.g. `READY=1, STATUS="…"`; return False if nobody took it."""
        if not self._address:
            return False
        message = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(1.0)
                sock.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True

    def ready(self, status: str = "") -> None:
        """Started: units that wait for this one go on."""
        self.send(READY=1, STATUS=status)

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self.send(STATUS=text)

    def reloading(self) -> None:
        """SIGHUP arrived; `ready` follows when it is done."""
        self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def stopping(self) -> None:
        """The stop began."""
        self.send(STOPPING=1)


class Watchdog:
    """Feeds the watchdog while no stage is late. State without threads: call `tick` from the loop and from a timer.

    Each stage is a function that returns when it last made progress, seconds of `clock`, with the longest time that
    it may take. One late stage stops the food; systemd then restarts the service. Law: nothing feeds blindly, so a
    hung loop, a stuck native call and a dead thread all end the same way.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._notifier, self._clock = notifier, clock
        self._stages: dict[str, tuple[Callable[[], float], float]] = {}
        self._fed = float("-inf")
        self._told: tuple[str, ...] = ()
        self.interval_s = _interval(environ)
        """The service manager's limit, seconds; 0 if it does not watch."""

    def watch(self, stage: str, progressed_at: Callable[[], float], limit_s: float) -> None:
        """Add a stage: late when its last progress is more than `limit_s` seconds ago."""
        if not limit_s > 0:
            raise ValueError(f"expected limit_s > 0, got {limit_s}")
        self._stages[stage] = (progressed_at, limit_s)

    def late(self) -> tuple[str, ...]:
        """Return the stages that stand still."""
        now = self._clock()
        return tuple(stage for stage, (at, limit_s) in self._stages.items() if now - at() > limit_s)

    def tick(self) -> bool:
        """Feed, if it is time and no stage is late; return whether all is well."""
        late = self.late()
        if late != self._told:
            # Told once: a manager that is slow to read must not slow the loop down.
            self._told = late
            self._notifier.status(f"stuck: {', '.join(late)}" if late else "running")
        if late:
            return False
        now = self._clock()
        if self.interval_s and now - self._fed >= self.interval_s / _MOST_PARTS:
            self._fed = now
            self._notifier.send(WATCHDOG=1)
        return True


class Beat:
    """When a stage last made progress: called each time it does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()

    def __call__(self) -> None:
        """Progress was made now."""
        self._at = self._clock()

    def at(self) -> float:
        """Return when, seconds of the clock."""
        return self._at


def _interval(environ: Mapping[str, str]) -> float:
    """Return $WATCHDOG_USEC in seconds, if it is meant for this process; else 0."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6
