"""After too many crashes: delivery and status only, without camera and model, and the reason published."""

import logging
import threading
import time
from typing import Final

from agent import __version__
from agent.config import Settings
from agent.config.reload import Reload
from agent.delivery.payload import Provenance, config_hash
from agent.delivery.publish import Publisher
from agent.device.clock import DeviceClock
from agent.device.crashes import CRASHES, SPAN_S, Starts
from agent.device.notify import Beat, Notifier, Watchdog
from agent.device.status_socket import StatusSocket, socket_path
from agent.errors import TryAgainError
from agent.insight.privacy import least_people, window_seconds
from agent.trust.orders import switching
from agent.trust.pause import Pause

log = logging.getLogger(__name__)

SAFE_S: Final = 600.0
"""It ends after this time, for another try; the starts that led to it are old by then."""


def safe_mode(settings: Settings, starts: Starts, notifier: Notifier, reload: Reload, ended: threading.Event) -> bool:
    """Return True for a new configuration, which may have mended it, False once `ended` is set.

    Raises TryAgainError after `SAFE_S`.
    """
    why = f"safe mode: {CRASHES} starts within {SPAN_S / 60:g} minutes ended badly; see: journalctl -u fer-agent"
    log.critical("event=agent.safe-mode reason=%r", why)
    beat, watchdog = Beat(), Watchdog(notifier)
    watchdog.watch("loop", beat.at, 15)
    privacy = settings.privacy
    made_by = Provenance(
        model_id="none",
        model_sha256="0" * 64,
        backend="none",
        calibration_id=None,
        window_s=window_seconds(settings),
        privacy_profile=privacy.profile,
        k_min=least_people(privacy),
        weights_id="none",
        config_hash=config_hash(settings),
    )
    report = {"version": __version__, "state": "degraded", "reason": why}
    # A pause that comes now holds when the next start opens the camera.
    pause = Pause(privacy.pause_file, settings.agent.state_dir)
    handlers = switching(pause, lambda: pause.reason() or "safe mode")
    with (
        Publisher(
            settings, made_by, clock=DeviceClock(), handlers=handlers, state_dir=settings.agent.state_dir
        ) as publisher,
        StatusSocket(socket_path(settings), lambda: {**report, **publisher.report()}),
    ):
        publisher.state("degraded", why)
        notifier.ready(why)
        end = time.monotonic() + SAFE_S
        while not ended.wait(1.0) and time.monotonic() < end:
            publisher.check()
            beat()
            watchdog.tick()
            if reload.wanted() is not None:
                starts.survived()  # the crashes were the old configuration's
                notifier.reloading()
                return True
    if ended.is_set():
        return False
    raise TryAgainError(why)
