"""What a start refuses with exit code 78, asked beforehand: `config check` says it, and at SIGHUP the old one runs on.

Law: what `Service` checks before its camera opens is checked here too, by the same functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.calibration import record
from agent.config import Mqtt, Settings
from agent.config.words import split_key
from agent.delivery import security
from agent.delivery.publish import Publisher
from agent.device.unit import hides, is_the_service
from agent.errors import ConfigError, FerAgentError, InputError
from agent.insight import weights
from agent.insight.policy import check_declared, check_k_min, is_live
from agent.stages import opened
from agent.trust.guard import models_of
from agent.trust.sensing import local_zone
from agent.vision.model_card import Bundle
from agent.vision.video import VideoFile


@dataclass(frozen=True)
class Refusal:
    """One thing that would end a start."""

    key: str
    """Dotted, e.g. "mqtt.ca_file": the setting to look at; "" if it is about none alone."""
    what: str
    forbidden: bool = False
    """This user may not look: another one may find all well."""

    def __str__(self) -> str:
        return f"{self.key}: {self.what}" if self.key else self.what


class _Refusals(list[Refusal]):
    """What was found so far; no check keeps another one from being made."""

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Within: what refuses is noted, for the key that its text begins with, else for `key`."""
        try:
            yield
        except (FerAgentError, PermissionError) as error:
            named, what = split_key(str(error))
            forbidden = isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError)
            self.append(Refusal(named or key, what, forbidden))


def refusals(settings: Settings, *, served: bool | None = None) -> list[Refusal]:
    """Return all that would end a start with `settings`; opens no camera and no network, writes nothing.

    served: a start by the service manager; None means one like this process' own
    """
    found = _Refusals()
    with found.of("privacy.pause_file"):
        check_pause(settings, served=is_the_service() if served is None else served)
    _may_watch(settings, found)
    _may_connect(settings.mqtt, found)
    _can_see(settings, found)
    return found


def calibration_of(settings: Settings, bundle: Bundle) -> record.Calibration | None:
    """Return what `fer-agent calibrate` found for this model and camera; None if it was never run.

    Raises ConfigError for one that is damaged, closed to this user or of another camera, `record.OtherModel` for one of
    another model.
    """
    path = record.path_of(settings)
    try:
        if not path.exists() and settings.engagement.calibration is None:
            return None
    except OSError as cause:
        raise ConfigError(f"{path}: expected a calibration or none, got: {cause.strerror}") from cause
    return record.load_for(settings, bundle, path)


def check_pause(settings: Settings, *, served: bool) -> None:
    """Raise ConfigError for a pause file that the service would never see: nobody could turn sensing off."""
    if served and hides(file := settings.privacy.pause_file):
        what = f"privacy.pause_file: expected a file that the service can see, got {file}: the unit hides it"
        raise ConfigError(f'{what} (/home, /root, /tmp and /var/tmp); set "/run/fer-agent/pause"')


def check_source(settings: Settings) -> None:
    """Raise ConfigError for a source that is neither a camera nor a film that can be played: most often a typo."""
    source = settings.camera.source
    try:
        if not is_live(source):
            with VideoFile(source, fps=1, settings=settings.camera):  # half a copy, or a codec unknown here, shows here
                pass
    except InputError as error:
        raise ConfigError(f"camera.source: {error}") from error.__cause__ or error


def _may_watch(settings: Settings, found: _Refusals) -> None:
    live = False
    with found.of("camera.source"):
        check_source(settings)
        live = is_live(settings.camera.source)
    if live:
        with found.of("policy"):
            check_declared(settings.policy)
        with found.of("privacy.k_min"):
            check_k_min(settings.privacy)
    if settings.schedule:
        with found.of("schedule"):
            local_zone()


def _may_connect(mqtt: Mqtt, found: _Refusals) -> None:
    with found.of("mqtt.ca_file"):
        security.context(mqtt.model_copy(update={"cert_file": None, "key_file": None}))
    with found.of("mqtt.cert_file"):
        security.context(mqtt.model_copy(update={"ca_file": None}))
    with found.of("mqtt.password_file"):
        security.password(mqtt)


def _can_see(settings: Settings, found: _Refusals) -> None:
    """Make every stage as a start does, on the CPU (an Edge TPU may be in use), once its parts are all there."""
    before, bundle, calibration = len(found), None, None
    with found.of("classify.model"):
        bundle = models_of(settings).preview()
    with found.of("engagement.weights"):
        weights.load(settings.engagement.weights)
    if bundle is None or len(found) > before:
        return
    with found.of("engagement.calibration"):
        calibration = _usable(settings, bundle)
    if len(found) > before:
        return
    if calibration is not None:
        bundle = calibration.record.parts.applied_to(bundle)
    on_cpu = settings.model_copy(update={"classify": settings.classify.model_copy(update={"edgetpu": "off"})})
    with found.of(""), opened(on_cpu, bundle, calibration) as stages:
        Publisher(settings.model_copy(update={"mqtt": Mqtt()}), stages.made_by)  # only made: do the ids fit a payload?


def _usable(settings: Settings, bundle: Bundle) -> record.Calibration | None:
    """What a start would use of the calibration: nothing of one for another model."""
    try:
        return calibration_of(settings, bundle)
    except record.OtherModel:
        return None
