"""Many couriers in one thread: their sockets in one selector instead of two threads for each."""

import contextlib
import selectors
import ssl
import time
from typing import Any, Final, Self

from agent.config import Mqtt
from agent.delivery.courier import Courier
from agent.delivery.link import Link, Will
from agent.delivery.news import Stop

_CARE_S: Final = 1.0
"""Seconds between two looks at a connection's keepalive and unfinished writes."""


class DrivenLink(Link):
    """A link without a thread: `serve` and `care` do what paho's thread would."""

    def __init__(
        self, driver: "Driver", mqtt: Mqtt, client_id: str, tls: ssl.SSLContext | None, password: str | None, will: Will
    ) -> None:
        super().__init__(mqtt, client_id, tls, password, will)
        self._driver = driver
        self._client.on_socket_close = lambda _c, _u, sock: driver.forget(sock)

    def _begin(self) -> None:
        self._driver.watch(self._client.socket(), self)

    def serve(self) -> None:
        """Read all that has come."""
        self._client.loop_read()
        while (sock := self._client.socket()) is not None and getattr(sock, "pending", int)():
            self._client.loop_read()  # TLS has read more than it gave; no selector would tell

    def care(self) -> None:
        """Keep the connection alive, and write what the socket did not take."""
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def close(self, *, fire_will: bool = False) -> None:
        sock = self._client.socket()
        super().close(fire_will=fire_will)
        if sock is not None:
            self._driver.forget(sock)
            sock.close()

    def cut(self) -> None:
        """Lose the network: no goodbye. The broker will publish the will."""
        if (sock := self._client.socket()) is not None:
            self._driver.forget(sock)
            sock.close()


class DrivenCourier(Courier):
    """A courier that somebody else's loop drives by `step`."""

    offline = False
    """There is no network: a link that is open is cut, none can be opened."""

    def __init__(self, driver: "Driver", start_at: float, mqtt: Mqtt, *args: Any, **more: Any) -> None:
        """Args: start_at: when to connect first, monotonic seconds."""
        super().__init__(mqtt, *args, connect=lambda *of: DrivenLink(driver, *of), **more)
        self._next_try = start_at
        driver.add(self)

    def set_offline(self, offline: bool) -> None:
        """The network goes or comes back."""
        if offline == self.offline:
            return
        self.offline = offline
        if offline and isinstance(self._link, DrivenLink):
            self._link.cut()
            self._link, self._up = None, False
            self.connected.clear()
            self.outbox.reset()
            self._under_way.closed(garbled=False)
        self._next_try = float("inf") if offline else time.monotonic() + self._pace.wait(0, herd=False)

    def say_goodbye(self) -> None:
        """Publish `disconnected`, if there is anybody to tell; `answered` says when it arrived."""
        self.post(self._births.status("disconnected"))

    @property
    def answered(self) -> bool:
        """Every publish of QoS 1 has its PUBACK."""
        return not self._under_way.topics()

    @property
    def finished(self) -> bool:
        """After `Stop`: there is nothing more to send, or no time for it."""
        return self._finished()

    def hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link, self._up = None, False


class Driver:
    """Context manager. Single-threaded: all its methods, and all its couriers, belong to one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._couriers: list[DrivenCourier] = []
        self._due: list[float] = []
        self._next_care = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Say goodbye for everybody, at most for a few seconds."""
        for courier in self._couriers:
            courier.inbox.put(Stop(failed=False))
        end = time.monotonic() + 5
        self._until(lambda c: c.finished, end)
        for courier in self._couriers:
            courier.say_goodbye()
        self._until(lambda c: c.answered, end + 3)
        for courier in self._couriers:
            courier.hang_up()
        self._selector.close()

    def add(self, courier: DrivenCourier) -> None:
        self._couriers.append(courier)
        self._due.append(0.0)

    def watch(self, sock: Any, link: DrivenLink) -> None:
        """`link` has a socket to read."""
        self._selector.register(sock, selectors.EVENT_READ, link)

    def forget(self, sock: Any) -> None:
        """That socket is about to close."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def turn(self, patience: float) -> None:
        """Serve the network and every courier that has something to do; wait `patience` seconds at most for it."""
        now = time.monotonic()
        for key, _ in self._selector.select(max(0.0, min([patience, *(due - now for due in self._due)]))):
            key.data.serve()
        now = time.monotonic()
        if now >= self._next_care:
            self._next_care = now + _CARE_S
            for key in list(self._selector.get_map().values()):
                key.data.care()
        for i, courier in enumerate(self._couriers):
            if self._due[i] <= now or not courier.inbox.empty():
                wait = courier.step()
                self._due[i] = float("inf") if wait is None else time.monotonic() + wait

    def _until(self, true: Any, end: float) -> None:
        while time.monotonic() < end and not all(true(courier) for courier in self._couriers):
            self.turn(0.05)
