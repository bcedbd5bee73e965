"""Everything that keeps a promise during one run, put together: policy, pause, schedule, light, gate, audit, models."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from agent import config
from agent.errors import ConfigError, ModelError, TryAgainError
from agent.insight.policy import check_policy
from agent.insight.privacy import Gate
from agent.trust.accept import works_here
from agent.trust.audit import AuditLog
from agent.trust.budget_file import BudgetFile
from agent.trust.gpio import Light, Switch
from agent.trust.hardening import keep_memory_private
from agent.trust.pause import Pause
from agent.trust.sensing import Sensing
from agent.trust.start import note_start
from agent.trust.store import ModelStore


def models_of(settings: config.Settings) -> ModelStore:
    """Return the store of the models that a service with these settings runs; nothing is opened."""
    return ModelStore(
        settings.agent.state_dir,
        settings.updates,
        AuditLog(settings.agent.state_dir),
        accept=works_here(settings.classify),
        released=settings.classify.model,
    )


class Guard:
    """Context manager for `fer-agent run`. Enter it first and leave it last: the light goes off after the camera.

    pause: for the network's commands: `pause.pause()`, `pause.resume()`
    sensing: for the camera: `open_source(…, closed=guard.sensing)`
    gate: for the loop: `protect=guard.gate`
    models: `models.choose()` → the bundle to run; `models.record(good)` after every window; `models.install_named(ref)`
        and `models.preview()` → the same bundle, for what only measures
    audit: the log
    """

    def __init__(self, settings: config.Settings, *, live: bool, config_hash: str) -> None:
        """live: a camera or stream (`policy.is_live`). Raises PolicyError before anything is opened."""
        check_policy(settings, live)
        state_dir, privacy = settings.agent.state_dir, settings.privacy
        self._settings, self._live, self._config_hash = settings, live, config_hash
        self._light, self._switch = Light(privacy.led_gpio), Switch(privacy.pause_gpio)
        self._open = ExitStack()
        self.audit = AuditLog(state_dir)
        self.pause = Pause(privacy.pause_file, state_dir, self._switch.closed)
        self.sensing = Sensing(settings.schedule, self.pause, self.audit, light=self._light if live else None)
        # Whoever holds a video file holds the pictures: its noise is counted in memory, and takes nothing from the day.
        budget = BudgetFile(state_dir, self.audit) if live else None
        self.gate = Gate(privacy, budget=budget, blocked=self.sensing.reason)
        self.models = models_of(settings)

    def __enter__(self) -> Self:
        """Switch core dumps off, open the GPIO lines, and write the start into the audit log."""
        keep_memory_private()
        self._open.enter_context(self._light)
        self._open.enter_context(self._switch)
        note_start(self.audit, self._settings, live=self._live, config_hash=self._config_hash)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A stop that is no crash counts for the model on trial; whatever the reason, the lines are closed."""
        self._open.close()
        # As for the service's starts: what the configuration or another process did is no crash of the model.
        blameless = (KeyboardInterrupt, SystemExit, ConfigError, TryAgainError)
        clean = error is None or (isinstance(error, blameless) and not isinstance(error, ModelError))
        if clean:
            self.models.stopped()
        self.audit.note("agent.stop", reason=None if clean else type(error).__name__)
