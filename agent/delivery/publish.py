"""Publisher: the last callable of the loop. A summary is in the spool before this returns, and on its way."""

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent import records
from agent.config import Settings
from agent.delivery import payload, security, wire
from agent.delivery.births import Births
from agent.delivery.commands import Handler
from agent.delivery.courier import Courier
from agent.delivery.disk import DiskSpool
from agent.delivery.memory import MemorySpool, Spool
from agent.delivery.news import Closing, Parcel, SetMeta, SetState, Stop
from agent.delivery.pace import Pace
from agent.delivery.payload import MAX_BYTES, Provenance, Speaker
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from agent.delivery.topics import Topics
from agent.delivery.wallclock import WallClock, WallTime, now_ms, system_clock
from agent.errors import ConfigError, FerAgentError, TryAgainError


class Publisher:
    """Callable: `publisher(summary)`. Works without a broker: windows wait in the spool.

    Enter it to open the spool and start its thread; leave it to send what is left and say goodbye. An exception
    that leaves through it makes the broker publish the will.
    """

    def __init__(
        self,
        settings: Settings,
        made_by: Provenance,
        *,
        clock: WallClock = system_clock,
        handlers: Mapping[str, Handler] | None = None,
        pace: Pace | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """Args:
            settings: `agent` and `mqtt` are used.
            made_by: what makes the numbers.
            clock: maps a frame's time to the wall clock.
            handlers: what `pause`, `resume` and `model-install` do; without one, that command is unknown.
            pace: delays and rates.
            state_dir: where the spool is kept (`spool/`, `retained.json`); None keeps it in memory.

        Raises ConfigError for an id, certificate or password file that cannot be used, or ids so long that a
        window would not fit into 4 KB.
        """
        self._speaker = Speaker(Topics.of(settings.agent), uuid.uuid4().hex[:16], now_ms())
        self._made_by, self._clock = made_by, clock
        self._settings, self._state_dir = settings, state_dir
        self._handlers, self._pace = handlers or {}, pace or Pace()
        self._failure: FerAgentError | None = None
        _check_size(self._speaker, made_by)
        security.context(settings.mqtt)
        security.password(settings.mqtt)

    def __enter__(self) -> Self:
        """Open the spool and start. Raises TryAgainError if another process has it, ConfigError if it is of a newer
        version."""
        mqtt = self._settings.mqtt
        self._spool = SharedSpool(self._open_spool)
        self._births = Births(self._speaker, self._made_by, self._spool, home_assistant=mqtt.home_assistant)
        self._courier = Courier(
            mqtt,
            self._speaker,
            self._births,
            self._spool,
            pace=self._pace,
            handlers=self._handlers,
            retained=RetainedTopics(None if self._state_dir is None else self._state_dir / "retained.json"),
            on_fatal=self._fail,
        )
        self._courier.thread.start()
        return self

    def _open_spool(self) -> Spool:
        if self._state_dir is None:
            return MemorySpool()
        mqtt = self._settings.mqtt
        return DiskSpool(self._state_dir / "spool", round(mqtt.spool_mb * 1e6), mqtt.spool_days * 86400, self._now)

    def _now(self) -> float | None:
        """The wall clock's seconds; None while it is not synchronised."""
        now = self._clock(time.monotonic())
        return now.utc_ms / 1000 if now.synced else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = error is not None and not isinstance(error, KeyboardInterrupt)
        self._courier.inbox.put(Stop(failed))
        self._courier.thread.join(self._pace.leave_s)
        if self._courier.thread.is_alive():
            self._courier.abandon()
        # As for the service's starts: these two end the safe mode, or a run that must not be, and are no crash.
        self._spool.close(crashed=failed and not isinstance(error, ConfigError | TryAgainError))

    def __call__(self, summary: records.Summary) -> bytes:
        """Keep and send one window; return its payload. Raises what stopped the delivery for good, if anything did."""
        self.check()
        start = self._clock(summary.start)
        built = b""

        def build(epoch: str, seq: int) -> bytes:
            nonlocal built
            built = payload.window(summary, self._speaker, self._made_by, start, epoch=epoch, seq=seq).encode()
            return built

        self._courier.inbox.put(Closing(self._spool.add(build)))
        return built

    def check(self) -> None:
        """Raise what stopped the delivery for good (another agent with our id, an internal error), if anything."""
        if self._failure is not None:
            raise self._failure

    def state(self, state: wire.State, reason: str | None = None) -> None:
        """Say what the agent does: "ready", "paused", "degraded" with a reason."""
        self._courier.inbox.put(SetState(state, reason))

    def event(self, kind: str, reason: str, detail: str | None = None) -> None:
        """Tell that something happened: `kind` is "camera", "thermal", "clock", "model" or "delivery"."""
        more = {} if detail is None else {"detail": detail[:200]}
        body = payload.event(self._speaker, kind, reason[:200], now_ms(), **more)
        self._courier.inbox.put(Parcel(self.topics("event"), body.encode()))

    def report(self) -> dict[str, Any]:
        """Whether there is a broker, and why not; what waits in the spool; and the state that the broker is told, with
        what troubles the delivery."""
        (windows, size), now, mqtt = self._spool.depth(), self._births.now(), self._settings.mqtt
        there = self._courier.connected.is_set()
        return {
            "broker": {
                "connected": there,
                "address": f"{mqtt.host}:{mqtt.port}",
                "reason": None if there else self._courier.away,
            },
            "spool": {"windows": windows, "bytes": size, "acknowledged": self._spool.acked},
            "delivery": {"state": now.state, "reason": now.reason},
        }

    def health(self, **more: Any) -> None:
        """Tell how the machine does: `fps`, `stages`, `temperature_c`, `rss_mb`, `backend` of `wire.Health`."""
        waiting, size = self._spool.depth()
        more |= {"spool_windows": waiting, "spool_bytes": size}
        body = payload.health(self._speaker, now_ms(), more)
        self._courier.inbox.put(Parcel(self.topics("health"), body.encode(), qos=0))

    def update(self, made_by: Provenance) -> None:
        """What makes the numbers has changed (another model, the Edge TPU failed): tell it, and in every window."""
        self._made_by = made_by
        self._courier.inbox.put(SetMeta(made_by))

    def wait_connected(self, timeout: float) -> bool:
        """Wait for a broker, at most `timeout` seconds; whether there is one."""
        return self._courier.connected.wait(timeout)

    @property
    def newest_seq(self) -> int:
        """Number of the last window that is kept."""
        return self._spool.newest_seq

    @property
    def topics(self) -> Topics:
        return self._speaker.topics

    def _fail(self, error: FerAgentError) -> None:
        self._failure = error


def _check_size(speaker: Speaker, made_by: Provenance) -> None:
    """Raise ConfigError if the longest window that these ids allow is over 4 KB."""
    engagement = records.Engagement(100.0 / 3, (100.0 / 3, 200.0 / 3), -100.0 / 3, made_by.weights_id)
    noise = records.Noise(0.123456789, "m" * 40, 1234.56789)
    longest = records.Summary(
        1e9 / 3, 1e9 / 2, 10**6, 1000, 1000 / 3, 1 / 3, None, engagement, -1 / 3, -1 / 3, 100 / 3, (1 / 8,) * 8, noise
    )
    start = WallTime(10**13, synced=False, source="simulated")
    try:
        size = len(payload.window(longest, speaker, made_by, start, epoch="e" * 12, seq=10**12).encode())
        size = max(size, len(payload.meta(speaker, made_by).encode()))
    except ValueError as error:
        raise ConfigError(f"delivery: an id does not fit the contract: {error}") from error
    if size > MAX_BYTES:
        raise ConfigError(f"delivery: expected payloads of at most {MAX_BYTES} bytes, got {size}: shorten the ids")
