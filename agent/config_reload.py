"""SIGHUP: read the configuration again; a wrong one is reported and the old one keeps running."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from agent.config import Settings
from agent.config_file import Loaded, SettingsError, load

log = logging.getLogger(__name__)


class Reload:
    """Ask it between frames: `if loaded := reload.wanted(): …`. The signal only sets a flag.

    running : the configuration in force
    refuse : gives the reasons why the service could not start with other settings (`config_start.refusals`)
    """

    def __init__(
        self,
        path: Path | None,
        running: Loaded,
        *,
        refuse: Callable[[Settings], Iterable[Exception]],
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        read: Callable[..., Loaded] = load,
    ) -> None:
        self._path, self._running, self._read, self._refuse = path, running, read, refuse
        self._environ, self._overrides = environ, overrides
        self._asked = False

    def listen(self) -> None:
        """Take SIGHUP from now on (main thread only)."""
        signal.signal(signal.SIGHUP, lambda *_: self.ask())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came while `start_anew` was at work

    def ask(self) -> None:
        """Read the files again at the next `wanted`."""
        self._asked = True

    def wanted(self) -> Loaded | None:
        """Return the new configuration if it was asked for, is valid, and differs; else None."""
        if not self._asked:
            return None
        self._asked = False
        try:
            loaded = self._read(self._path, environ=self._environ, overrides=self._overrides)
            if loaded.settings == self._running.settings:
                log.info("event=config.unchanged")
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
        self._running = loaded
        return loaded

    def _kept_old(self, problems: Iterable[object]) -> None:
        for problem in problems:
            log.error("event=config.kept-old problem=%r", str(problem))


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
