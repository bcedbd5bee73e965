"""What a start refuses with exit code 78, asked beforehand: `config check` says it, and at SIGHUP the old one runs on.

Law: what `Service` checks before its camera opens is checked here too, by the same functions.
"""

from collections.abc import Iterator
from functools import partial

from agent.calibration import record
from agent.config import Mqtt, Settings
from agent.delivery import security
from agent.delivery.publish import Publisher
from agent.device.unit import hides, is_the_service
from agent.errors import ConfigError, FerAgentError, InputError
from agent.insight.policy import check_policy, is_live
from agent.stages import opened
from agent.trust.guard import models_of
from agent.trust.sensing import local_zone
from agent.vision.model_card import Bundle
from agent.vision.video import check_exists


def refusals(settings: Settings, *, served: bool | None = None) -> Iterator[FerAgentError | PermissionError]:
    """Yield what would end a start with `settings`; opens no camera and no network, writes nothing.

    served: a start by the service manager; None means one like this process' own
    """
    served = is_the_service() if served is None else served
    for check in (partial(check_pause, served=served), _may_watch, _may_connect, _can_see):
        try:
            check(settings)
        except (FerAgentError, PermissionError) as error:
            yield error


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
    """Raise ConfigError for a source that is neither a camera nor a video file that can be read: most often a typo."""
    source = settings.camera.source
    try:
        if not is_live(source):
            check_exists(source)
    except InputError as error:
        raise ConfigError(f"camera.source: {error}") from error.__cause__ or error


def _may_watch(settings: Settings) -> None:
    check_source(settings)
    check_policy(settings, is_live(settings.camera.source))
    if settings.schedule:
        local_zone()


def _may_connect(settings: Settings) -> None:
    security.context(settings.mqtt)
    security.password(settings.mqtt)


def _can_see(settings: Settings) -> None:
    """Make every stage as a start does, on the CPU: an Edge TPU may be in use."""
    bundle = models_of(settings).preview()
    try:
        calibration = calibration_of(settings, bundle)
    except record.OtherModel:  # a start goes on without it
        calibration = None
    if calibration is not None:
        bundle = calibration.applied_to(bundle)
    on_cpu = settings.model_copy(update={"classify": settings.classify.model_copy(update={"edgetpu": "off"})})
    with opened(on_cpu, bundle, calibration) as stages:
        Publisher(settings.model_copy(update={"mqtt": Mqtt()}), stages.made_by)  # only made: do the ids fit a payload?
