"""SIGHUP: read the configuration again; a wrong one is reported and the old one keeps running."""

import contextlib
import hashlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from agent.calibration import record
from agent.config import Settings
from agent.config.file import Loaded, SettingsError, load

log = logging.getLogger(__name__)


class Reload:
    """Ask it between frames: `if loaded := reload.wanted(): …`. The signal only sets a flag.

    running : the configuration in force
    refuse : gives the reasons why the service could not start with other settings (`config.start.refusals`)
    """

    def __init__(
        self,
        path: Path | None,
        running: Loaded,
        *,
        refuse: Callable[[Settings], Iterable[object]],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._path, self._running, self._refuse, self._environ = path, running, refuse, environ
        self._asked = False
        self._contents = _contents(running.settings)

    def listen(self) -> None:
        """Take SIGHUP from now on (main thread only)."""
        signal.signal(signal.SIGHUP, lambda *_: self.ask())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came while `start_anew` was at work

    def ask(self) -> None:
        """Read the files again at the next `wanted`."""
        self._asked = True

    def wanted(self) -> Loaded | None:
        """Return the new configuration if it was asked for, is valid, and differs, in itself or in what stands in the
        files that it names; else None."""
        if not self._asked:
            return None
        self._asked = False
        try:
            loaded = load(self._path, environ=self._environ)
            contents = _contents(loaded.settings)
            if loaded.settings == self._running.settings and contents == self._contents:
                log.info("event=config.unchanged%s", _only_a_restart(loaded.settings, self._environ))
                return None
            reasons = list(self._refuse(loaded.settings))
        except SettingsError as error:
            self._kept_old(error.problems)
            return None
        except Exception as error:  # whatever the new one does to its checks, a healthy service runs on with the old
            self._kept_old([f"{type(error).__name__}: {error}"])
            return None
        if reasons:
            self._kept_old(reasons)
            return None
        log.info("event=config.new files=%d", len(loaded.files))
        self._running, self._contents = loaded, contents
        return loaded

    def _kept_old(self, problems: Iterable[object]) -> None:
        # One line: of equal events a minute has five, and a file may have more mistakes.
        log.error("event=config.kept-old problems=%r", "; ".join(map(str, problems)))


def _contents(settings: Settings) -> dict[Path, str | None]:
    """Digests of the files that settings name and a start reads: a password or an authority behind the same name may be
    another one. None for a file that cannot be read: whoever needs it says so."""
    mqtt, weights = settings.mqtt, settings.engagement.weights
    files = [mqtt.password_file, mqtt.ca_file, mqtt.cert_file, mqtt.key_file, record.path_of(settings)]
    files += [Path(weights)] if weights.endswith(".toml") else []
    found: dict[Path, str | None] = {}
    for file in filter(None, files):
        found[file] = None
        with contextlib.suppress(OSError, ValueError):
            found[file] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _only_a_restart(settings: Settings, environ: Mapping[str, str] | None) -> str:
    """Words about secrets that the service manager copied for this service at its start, if there are any: those copies
    never change while it runs."""
    environ, mqtt = os.environ if environ is None else environ, settings.mqtt
    folder = environ.get("CREDENTIALS_DIRECTORY")
    held = [file for file in (mqtt.password_file, mqtt.key_file) if file is not None and str(file.parent) == folder]
    names = " and ".join(file.name for file in held)
    return f" (a new {names} needs a restart: systemctl restart fer-agent)" if names else ""


def start_anew() -> NoReturn:
    """Replace this process by a fresh one with the same arguments: same PID, so the service manager sees no end.

    Call it when everything is closed: every stage then takes the new configuration, none can keep half of the old.
    Another SIGHUP waits until the fresh process listens. A camera that a stuck driver still holds is let go.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for descriptor in range(3, 1024):
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)
    os.execv(sys.executable, [sys.executable, "-m", "agent", *sys.argv[1:]])  # noqa: S606 - no shell is wanted
