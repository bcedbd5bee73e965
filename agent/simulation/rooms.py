"""`simulate`: N rooms that do not exist, each with the delivery of the real agent, against a real broker."""

import heapq
import itertools
import random
import resource
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from agent import config
from agent.delivery import payload, wire
from agent.delivery.births import Births
from agent.delivery.memory import MemorySpool
from agent.delivery.news import Closing, Parcel, SetState
from agent.delivery.pace import Pace
from agent.delivery.payload import Provenance, Speaker
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from agent.delivery.subscribe import Subscriber
from agent.delivery.topics import Topics
from agent.delivery.wallclock import WallTime, now_ms
from agent.errors import FerAgentError
from agent.insight import weights
from agent.insight.privacy import Gate
from agent.records import Window
from agent.simulation.driven import DrivenCourier, Driver
from agent.simulation.lessons import Lessons

_ROOMS_A_SITE: Final = 20
_SCHOOL_DAY_S: Final = 8 * 3600.0
"""How much of the past is told when time is compressed without an end, seconds."""
_CONNECTS_A_SECOND: Final = 100
_KEPT: Final = 100_000
"""Windows that all rooms together keep for a collector that may ask again."""
_HEALTH_EVERY: Final = 5
"""Windows."""


class Timeline:
    """Simulated time: starts in the past, runs `speed` times as fast until it has caught up with the clock."""

    def __init__(self, speed: float, behind_s: float) -> None:
        """Args: behind_s: where it starts, seconds before now."""
        self._mono, self._wall = time.monotonic(), time.time()
        self._speed, self.start = speed, self._wall - behind_s

    def reached(self, at: float) -> float:
        """When the simulated moment `at` (Unix seconds) is reached, monotonic seconds."""
        return self._mono + max((at - self.start) / self._speed, at - self._wall)


@dataclass
class Tally:
    """What was done so far."""

    windows: int = 0
    """Windows that closed."""
    gaps: int = 0
    """Windows lost in a crash, declared."""
    connected: int = 0
    """Rooms with a connection now."""
    waiting: int = 0
    """Windows that no collector has acknowledged, in all rooms."""


class Room:
    """One device: lessons go in, the protocol comes out."""

    def __init__(
        self, driver: Driver, mqtt: config.Mqtt, topics: Topics, made_by: Provenance, seed: str, *, start_at: float,
        keep: int, pace: Pace, trouble: float,
    ) -> None:  # fmt: skip
        rng = random.Random(seed)  # noqa: S311 (a simulation)
        self.topics, self._made_by, self._paused = topics, made_by, False
        self._speaker = Speaker(topics, uuid.uuid4().hex[:16], now_ms())
        self._gate = Gate(config.Privacy(), blocked=lambda: "paused" if self._paused else None)
        self._lessons = Lessons(rng, weights.load(made_by.weights_id), made_by.window_s, trouble)
        self._memory = MemorySpool(cap=keep)
        self.spool = SharedSpool(lambda: self._memory)
        self.courier = DrivenCourier(
            driver, start_at, mqtt, self._speaker, Births(self._speaker, made_by, self.spool, home_assistant=False),
            self.spool, pace=pace, handlers={"pause": self._pause, "resume": self._resume},
            retained=RetainedTopics(None), on_fatal=self._fail,
        )  # fmt: skip
        self.closed = 0
        self.failure: FerAgentError | None = None
        self._say("ready", None)

    def close_window(self, start: float, origin: float) -> bool:
        """The window that began at `start` (Unix seconds) ends; False if the device crashed over it."""
        # The device's own monotonic clock began with the simulation.
        moment = self._lessons.next(start - origin)
        self.courier.set_offline(moment.offline)
        self.closed += 1
        if moment.window is None:
            lost = self._memory.newest_seq = self._memory.newest_seq + 1
            self.courier.inbox.put(Closing([self._memory.add_gap(lost, lost, "crash")]))
            return False
        self._publish(moment.window, WallTime(round(start * 1000), synced=True, source="simulated"))
        return True

    def _publish(self, measured: Window, wall: WallTime) -> None:
        summary = self._gate(measured)

        def build(epoch: str, seq: int) -> bytes:
            return payload.window(summary, self._speaker, self._made_by, wall, epoch=epoch, seq=seq).encode()

        self.courier.inbox.put(Closing(self.spool.add(build)))
        if not self._paused:  # `_pause` has said so
            self._say("degraded" if measured.trouble else "ready", measured.trouble, wall.utc_ms)
        if self.closed % _HEALTH_EVERY == 0:
            waiting, size = self.spool.depth()
            more = {"fps": 1.0, "spool_windows": waiting, "spool_bytes": size, "backend": self._made_by.backend}
            body = payload.health(self._speaker, wall.utc_ms, more)
            self.courier.inbox.put(Parcel(self.topics("health"), body.encode(), qos=0))

    _said: tuple[wire.State, str | None] = ("init", None)

    def _say(self, state: wire.State, reason: str | None, at_ms: int = 0) -> None:
        """Tell a change of state; a camera's trouble is an event, too."""
        if (state, reason) == self._said:
            return
        self._said = (state, reason)
        self.courier.inbox.put(SetState(state, reason))
        if state == "degraded" and reason is not None:
            body = payload.event(self._speaker, "camera", reason, at_ms)
            self.courier.inbox.put(Parcel(self.topics("event"), body.encode()))

    def _pause(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        self._paused = True
        self._say("paused", "paused")
        return {"sensing": "off"}

    def _resume(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        self._paused = False
        self._say("ready", None)
        return {"sensing": "on"}

    def _fail(self, error: FerAgentError) -> None:
        self.failure = error


class SimulatedRooms:
    """Context manager: the rooms live while it is entered, in a thread of their own."""

    def __init__(
        self,
        mqtt: config.Mqtt,
        rooms: int,
        *,
        speed: float = 1.0,
        seconds: float | None = None,
        window_s: float = 60.0,
        trouble: float = 1.0,
        pace: Pace | None = None,
        seed: int = 1,
        name: str = "sim",
    ) -> None:
        """Args:
        mqtt: the broker.
        rooms: how many.
        speed: how many seconds of a lesson pass in one, until the clock is caught up with.
        seconds: how long it will run (wall time), if that is known: the past is told so that it ends now.
        window_s: window length, seconds of a lesson.
        trouble: factor on cameras that fail, networks that vanish and crashes; 0 has none.
        pace: delays and rates of the delivery.
        seed: the same one gives the same lessons.
        """
        self._mqtt, self._count, self._window_s = mqtt, rooms, window_s
        self._speed, self._seconds = speed, seconds
        self._trouble, self._pace, self._seed, self._name = trouble, pace or Pace(), seed, name
        self.tally = Tally()
        self.rooms: list[Room] = []
        self._end = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)

    def __enter__(self) -> Self:
        """Start. Raises UnavailableError if the broker is not there or refuses."""
        with Subscriber(self._mqtt, ["fer/v1/none"]):
            pass
        _allow_files(self._count + 200)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, with a goodbye for every room. Raises what ended the thread early, if anything did."""
        self._end.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            with Driver() as driver:
                self._make_rooms(driver)
                self._live(driver)
        except BaseException as error:
            self._failure = error

    def _make_rooms(self, driver: Driver) -> None:
        made_by = Provenance(
            "simulated", "0" * 64, "simulated", None, self._window_s, "standard", Gate(config.Privacy()).k_min,
            weights.DEFAULT,
        )  # fmt: skip
        now = time.monotonic()
        for i in range(self._count):
            topics = Topics(
                f"school-{i // _ROOMS_A_SITE + 1:02d}", f"room-{i % _ROOMS_A_SITE + 1:02d}", f"{self._name}-{i:04d}"
            )
            self.rooms.append(
                Room(
                    driver,
                    self._mqtt,
                    topics,
                    made_by,
                    f"{self._seed}-{i}",
                    start_at=now + i / _CONNECTS_A_SECOND,
                    keep=max(60, _KEPT // self._count),
                    pace=self._pace,
                    trouble=self._trouble,
                )
            )

    def _live(self, driver: Driver) -> None:
        behind = 0.0 if self._speed <= 1 else _SCHOOL_DAY_S
        if self._speed > 1 and self._seconds is not None:
            behind = self._seconds * (self._speed - 1)
        timeline = Timeline(self._speed, behind)
        # Devices were switched on at different times, so their windows do not end together.
        starts = [timeline.start + self._window_s * (i / self._count - 1) for i in range(self._count)]
        due = [(timeline.reached(start + self._window_s), i) for i, start in enumerate(starts)]
        heapq.heapify(due)
        for turn in itertools.count():
            if self._end.is_set():
                break
            now = time.monotonic()
            while due[0][0] <= now and time.monotonic() < now + 0.1:
                _, i = due[0]
                closed = self.rooms[i].close_window(starts[i], timeline.start - self._window_s)
                self.tally.windows += closed
                self.tally.gaps += not closed
                starts[i] += self._window_s
                heapq.heapreplace(due, (timeline.reached(starts[i] + self._window_s), i))
            driver.turn(min(0.05, max(0.0, due[0][0] - time.monotonic())))
            if turn % 20 == 0:
                self._count_up()

    def _count_up(self) -> None:
        """Keep the tally. Raises what made a room give up: another simulation has its id."""
        if (failed := next((room.failure for room in self.rooms if room.failure), None)) is not None:
            raise failed
        self.tally.connected = sum(room.courier.connected.is_set() for room in self.rooms)
        self.tally.waiting = sum(room.spool.depth()[0] for room in self.rooms)


def _allow_files(count: int) -> None:
    """Let this process have so many descriptors, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
