"""What `fer-agent run` wires around the loop: guard, delivery, keeper, signals, status."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent import __version__, pipeline
from agent.calibration import record
from agent.config.file import Loaded
from agent.config.reload import Reload
from agent.config.start import calibration_of, check_pause, check_source, refusals
from agent.config.words import without_login
from agent.delivery.payload import config_hash
from agent.delivery.publish import Publisher
from agent.delivery.wallclock import WallClock, media_clock
from agent.device.clock import DeviceClock
from agent.device.crashes import Starts
from agent.device.keeper import Keeper
from agent.device.memory import MemoryBound, group_limit
from agent.device.notify import Notifier
from agent.device.signals import closes_with_its_terminal, on_end
from agent.device.status_socket import StatusSocket, socket_path
from agent.device.unit import is_the_service
from agent.errors import ConfigError, TryAgainError
from agent.insight.policy import is_live
from agent.records import Frame, Summary
from agent.safe_mode import safe_mode
from agent.stages import Stages, opened
from agent.trust.guard import Guard
from agent.trust.orders import Orders
from agent.vision.camera import LiveCamera
from agent.vision.capture import open_source
from agent.vision.model_card import Bundle

log = logging.getLogger(__name__)

_OFF: Final = ("paused", "schedule")
"""Reasons of a frame that mean that sensing is off on purpose."""
_DRIVER_S: Final = 15.0
"""What a camera's driver may take beyond its time-outs before it counts as stuck."""
_INSTALL_S: Final = 5.0
"""Longest wait at the end for a model that is being installed."""


class Service:
    """One run of the agent. `run` returns True if it ended to take a new configuration."""

    def __init__(self, loaded: Loaded, path: Path | None) -> None:
        """Args: path: agent.toml, read again at SIGHUP."""
        self._loaded, self._settings = loaded, loaded.settings
        self._reload = Reload(path, loaded, refuse=refusals)
        self._ended = threading.Event()
        self._again = False
        self._source: Any = None
        self._notifier = Notifier()
        self._trouble: str | None = "init"
        self._uncalibrated: str | None = None
        """Why the calibration that is there is not used."""
        self._windows = {"published": 0, "withheld": 0}
        self._costs: dict[str, dict[str, float]] | None = None
        """What the stages took in the newest window, if it has a result: it tells of how many faces, and how often."""
        self._why = f"end of {Path(without_login(loaded.settings.camera.source)).name}"
        """Of an end that no signal asked for."""

    def run(self) -> bool:
        """Run until a signal, the end of a video, or a new configuration.

        Raises FerAgentError. A ConfigError is no crash: the service manager does not start it again. Nor is a
        TryAgainError: another process had what this one needs.
        """
        by_hand = closes_with_its_terminal()
        on_end(self._end, hangup=by_hand)
        if not by_hand:
            self._reload.listen()
        starts = Starts(self._settings.agent.state_dir)
        if starts.begin():
            again = safe_mode(self._settings, starts, self._notifier, self._reload, self._ended)
            if not again:
                self._tell_end()
            return again
        try:
            with ExitStack() as stack:
                self._watch(stack, starts)
        except (ConfigError, TryAgainError):
            starts.survived()
            raise
        if not self._again:
            self._tell_end()
        return self._again

    def _tell_end(self) -> None:
        """The last line of a run, when all is closed: who reads the journal must not take an end for a crash."""
        log.info("event=agent.stopped reason=%s", "signal" if self._ended.is_set() else repr(self._why))

    def _end(self) -> None:
        self._ended.set()
        if self._source is not None:
            self._source.stop()

    def _watch(self, stack: ExitStack, starts: Starts) -> None:
        """The order is important: the guard is left last, and the camera closes before the delivery says goodbye."""
        check_pause(self._settings, served=is_the_service())
        check_source(self._settings)
        settings, live = self._settings, is_live(self._settings.camera.source)
        guard = stack.enter_context(Guard(settings, live=live, config_hash=config_hash(settings)))
        bundle = guard.models.choose()
        calibration = self._calibration(bundle)
        if calibration is not None:
            settings = calibration.tuned(settings, self._loaded.origins)
            bundle = calibration.record.parts.applied_to(bundle)
        stages = stack.enter_context(opened(settings, bundle, calibration, configured=self._settings))
        clock: WallClock = DeviceClock() if live else media_clock()
        orders = Orders(guard.pause, guard.sensing.reason, guard.models, lambda *news: publisher.event(*news))
        publisher = stack.enter_context(
            Publisher(
                settings, stages.made_by, clock=clock, handlers=orders.handlers, state_dir=settings.agent.state_dir
            )
        )
        stack.callback(orders.wait, _INSTALL_S)
        self._source = stack.enter_context(
            open_source(
                settings.camera.source,
                fps=settings.camera.fps,
                realtime=True,
                camera=settings.camera,
                patient=True,
                closed=guard.sensing,
                notice=lambda notice: _tell(publisher, "camera", notice.reason, notice.detail),
            )
        )
        guard.sensing.held = self._source.held
        if self._ended.is_set():  # by a signal while there was nothing to stop yet
            self._source.stop()
        keeper = stack.enter_context(self._keeper(publisher, clock, starts))
        stack.enter_context(StatusSocket(socket_path(settings), lambda: self._report(keeper, publisher, stages)))
        self._notifier.ready("running")
        log.info("event=agent.ready model=%s backend=%s live=%s", bundle.card.id, stages.classify.backend, live)
        pipeline.run(
            self._frames(keeper.frames(self._source), publisher),
            keeper.stage("detect", stages.detect),
            keeper.stage("classify", stages.classify),
            stages.window,
            guard.gate,
            self._publish(guard, keeper, publisher, stages, calibration),
        )
        self._why = keeper.ended or self._why
        if self._again:
            self._notifier.reloading()
        else:
            self._notifier.stopping()

    def _calibration(self, bundle: Bundle) -> record.Calibration | None:
        """What `fer-agent calibrate` found, if it did. Raises ConfigError for one that is damaged or of another camera.

        Another model is no configuration error: one comes by a command from the network, by a fall back to the last
        good one and with an upgrade, and none of these may end the service for good. It runs uncalibrated and says so.
        """
        try:
            found = calibration_of(self._settings, bundle)
        except record.OtherModel as error:
            log.error("event=calibration.refused reason=%r", str(error))
            self._uncalibrated = str(error)
            return None
        for line in found.warnings if found else ():
            log.warning("event=calibration.warning reason=%r", line)
        return found

    def _keeper(self, publisher: Publisher, clock: WallClock, starts: Starts) -> Keeper:
        camera, live = self._settings.camera, isinstance(self._source, LiveCamera)
        # A driver may take all of both time-outs, one after the other, before it comes back.
        still_s = camera.open_timeout_s + camera.read_timeout_s + _DRIVER_S
        return Keeper(
            event=partial(_tell, publisher),
            period_s=1 / camera.fps,
            progress={"camera": (self._source.progressed_at, still_s)} if live else None,
            waiting=self._source.waited_at,
            broken=lambda: self._source.bad,
            notifier=self._notifier,
            clock=clock if isinstance(clock, DeviceClock) else None,
            memory=MemoryBound(group_limit()),
            starts=starts,
        )

    def _frames(self, frames: Iterable[Frame], publisher: Publisher) -> Iterator[Frame]:
        """Yield `frames` until the end is asked for; tell on `status` when sensing stops, suffers or goes on."""
        for frame in frames:
            self._again = self._reload.wanted() is not None
            if self._again or self._ended.is_set():
                return
            publisher.check()
            if frame.trouble != self._trouble:
                self._trouble = frame.trouble
                state = "ready" if frame.trouble is None else "paused" if frame.trouble in _OFF else "degraded"
                publisher.state(state, frame.trouble)  # type: ignore[arg-type]
                log.info("event=agent.state state=%s%s", state, f" reason={frame.trouble}" if frame.trouble else "")
            yield frame

    def _publish(
        self,
        guard: Guard,
        keeper: Keeper,
        publisher: Publisher,
        stages: Stages,
        calibration: record.Calibration | None,
    ) -> Callable[[Summary], None]:
        """Return the last callable of the loop: publish, then what follows from a window."""
        made_by = stages.made_by
        fresh = calibration if calibration is not None and calibration.ended(time.time()) is None else None

        def publish(summary: Summary) -> None:
            nonlocal made_by, fresh
            if (now := stages.made_now(made_by)) != made_by:
                made_by = now
                publisher.update(now)
                publisher.event("model", "backend", now.backend)
            publisher(summary)
            good = summary.suppressed is None
            self._windows["published" if good else "withheld"] += 1
            guard.models.record(good)
            report = keeper.report()
            told = {key: report[key] for key in ("fps", "temperature_c", "rss_mb")}
            self._costs = report["stages"] if good else None
            keeper.forget_costs()
            publisher.health(**told, stages=self._costs, backend=made_by.backend)
            if fresh is not None and (why := fresh.ended(time.time())) is not None:
                log.warning("event=calibration.warning reason=%r", why)
                fresh = None

        return publish

    def _report(self, keeper: Keeper, publisher: Publisher, stages: Stages) -> dict[str, Any]:
        """What `fer-agent status` shows: states and counters, no result of any window."""
        return {
            "version": __version__,
            "state": "ready" if self._trouble is None else self._trouble,
            "model": stages.made_by.model_id,
            "backend": stages.classify.backend,
            "calibration": {"id": stages.made_by.calibration_id, "refused": self._uncalibrated},
            "windows": {**self._windows, "newest_seq": publisher.newest_seq},
            **publisher.report(),
            **keeper.report(),
            "stages": self._costs,
        }


def _tell(publisher: Publisher, kind: str, reason: str, detail: str) -> None:
    """Tell of camera, heat or clock: the journal, for who stands before the device, and who listens to the broker."""
    log.warning("event=%s detail=%r", reason, detail)
    publisher.event(kind, reason, detail)
