"""Looks after a running agent: wraps the frames and the stages, feeds the watchdog, watches heat, clock and memory.

with Keeper(event=…, period_s=1 / fps, progress={"camera": (source.progressed_at, 30)}) as keeper:
    pipeline.run(keeper.frames(source), keeper.stage("detect", detector), keeper.stage("classify", classifier), …)
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from agent.device.clock import DeviceClock
from agent.device.crashes import WINDOW_S, Starts
from agent.device.memory import MemoryBound, rss_bytes
from agent.device.notify import Beat, Notifier, Watchdog
from agent.device.thermal import Thermal
from agent.records import Frame

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_CHECK_S: Final = 5.0
"""Heat, clock and memory are looked at this often."""
_LIMIT_S: Final = 15.0
"""Longest time one stage may take for one frame before it counts as stuck, at least."""
_KEPT: Final = 200
"""Durations kept per stage for its percentiles."""
_TICK_S: Final = 2.0

Event = Callable[[str, str, str], None]
"""Takes (kind, reason, detail), kind being one of the contract's: "thermal", "clock", "camera", …"""


class _Stage:
    """One stage: how long it takes, and since when it has been at work."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entered: float | None = None
        self.costs: deque[float] = deque(maxlen=_KEPT)

    def progressed_at(self) -> float:
        """Return when its present work began; now, if it rests: a stage that nobody called is not stuck."""
        entered = self._entered
        return self._clock() if entered is None else entered

    def wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function`, measured."""

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            self._entered = began = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.costs.append(self._clock() - began)
                self._entered = None

        return measured


class Keeper:
    """A context manager around one run of the agent.

    event : told of steps of heat and clock, from the loop's own thread
    period_s : time between frames, seconds
    progress : further things that must move, name → when they last did (monotonic seconds), and for how long they may
        stand still without being stuck, seconds; at least twice the time of a stage is given
    waiting : when the source of the frames last looked for one: a camera that is silent, or slow to open, is no hang
    broken : how many pictures of this run could not be decoded
    """

    def __init__(
        self,
        *,
        event: Event,
        period_s: float,
        progress: Mapping[str, tuple[Callable[[], float], float]] | None = None,
        waiting: Callable[[], float] | None = None,
        broken: Callable[[], int] = lambda: 0,
        notifier: Notifier | None = None,
        thermal: Thermal | None = None,
        clock: DeviceClock | None = None,
        memory: MemoryBound | None = None,
        starts: Starts | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event, self._now = event, now
        self._notifier = notifier or Notifier()
        self._thermal, self._clock = thermal or Thermal(), clock or DeviceClock()
        self._memory, self._starts = memory or MemoryBound(None), starts
        self.ended: str | None = None
        """Why `frames` ended before those that it was given did."""
        self._watchdog = Watchdog(self._notifier, clock=now)
        self._broken, self._broken_told = broken, 0
        self._loop = Beat(now)
        self._stages: dict[str, _Stage] = {}
        self._limit_s = max(_LIMIT_S, 3 * period_s)
        turned = self._loop.at if waiting is None else lambda: max(self._loop.at(), waiting())
        self._watchdog.watch("loop", turned, self._limit_s)
        for name, (at, still_s) in (progress or {}).items():
            self._watchdog.watch(name, at, max(2 * self._limit_s, still_s))
        self._began = self._checked = now()
        self._times: deque[float] = deque(maxlen=_KEPT)
        self._credit = 0.0
        self._ended = threading.Event()
        self._feeder = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    def stage(self, name: str, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function`, measured, and watched: the watchdog starves while one call of it takes too long."""
        stage = self._stages[name] = _Stage(self._now)
        self._watchdog.watch(name, stage.progressed_at, self._limit_s)
        return stage.wrap(function)

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield `frames`, fewer when the machine is too hot; end when memory runs out."""
        for frame in frames:
            self._loop()
            self._check()
            if self._memory.exceeded():
                log.error("event=memory.limit rss_mb=%.0f action=restart", rss_bytes() / 1e6)
                self.ended = "memory limit"
                return
            if frame.trouble is not None:  # costs nothing, and a window must know each: one paused frame withholds it
                yield frame
                continue
            self._credit += self._thermal.share
            if self._credit >= 1.0:
                self._credit -= 1.0
                self._times.append(self._now())
                yield frame

    def report(self) -> dict[str, Any]:
        """Return the health of this run: rates, costs per stage in ms, heat, memory. Safe from any thread."""
        times = tuple(self._times)
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        heat = self._thermal.last
        return {
            "uptime_s": round(self._now() - self._began, 1),
            "fps": round((len(times) - 1) / span, 3) if span > 0 else None,
            "broken_frames": self._broken(),
            "stages": {name: _percentiles(tuple(stage.costs)) for name, stage in self._stages.items() if stage.costs},
            "temperature_c": heat.temperature_c,
            "under_voltage": heat.under_voltage,
            "rate_share": self._thermal.share,
            "rss_mb": round(rss_bytes() / 1e6, 1),
            "stuck": list(self._watchdog.late()),
        }

    def forget_costs(self) -> None:
        """Begin to measure the stages anew: what a window took is told with that window, or not at all."""
        for stage in self._stages.values():
            stage.costs.clear()

    def __enter__(self) -> "Keeper":
        """Start to feed the watchdog."""
        self._loop()
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop feeding; a run that ended without an error was no crash."""
        self._ended.set()
        self._feeder.join(_TICK_S + 1)
        if kind is None and self._starts is not None:
            self._starts.survived()

    def _feed(self) -> None:
        """Tick beside the loop, whose frames may be further apart than the watchdog's patience: on evidence only."""
        while not self._ended.wait(min(_TICK_S, self._watchdog.interval_s / 4 or _TICK_S)):
            self._watchdog.tick()

    def _check(self) -> None:
        """Look at heat, clock and broken pictures, every few seconds, and tell what changed."""
        now = self._now()
        if now - self._checked < _CHECK_S:
            return
        self._checked = now
        if self._starts is not None and now - self._began > WINDOW_S:
            self._starts.survived()
            self._starts = None
        if change := self._thermal.update():
            self._event("thermal", change.reason, change.detail)
        if step := self._clock.step():
            state = "synchronised" if step.synced else "not synchronised"
            self._event("clock", "clock.step", f"set by {step.by_s:+.1f} s, {state}")
        if (broken := self._broken()) > self._broken_told:
            self._broken_told = broken
            log.warning("event=camera.broken_frames n=%d", broken)


def _percentiles(costs_s: tuple[float, ...]) -> dict[str, float]:
    p50, p95 = np.percentile(costs_s, [50, 95]) * 1000
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
