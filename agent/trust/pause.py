"""The kill switch: sensing is off while a local file, a switch on a GPIO line or the network says so.

Law: the network can only turn sensing off, or undo its own pause; it can never undo a local one. What cannot be
read counts as a pause.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.trust.files import sync, write_atomically

log = logging.getLogger(__name__)


class Pause:
    """Both pauses. Single-threaded but for `pause` and `resume`, which the thread of the network may call.

    local: the file whose existence turns sensing off (`Privacy.pause_file`); this class never writes it
    state_dir: the network's pause is a file of its own here, so it survives a restart
    switch: True while the GPIO switch is closed (`gpio.Switch.closed`); unset has none
    """

    def __init__(self, local: Path, state_dir: Path, switch: Callable[[], bool] = lambda: False) -> None:
        self._local: Final = local
        self._remote: Final = state_dir / "pause.remote"
        self._switch = switch
        self._asked = False
        """The network paused and its file could not be written: holds until the process ends."""

    @property
    def local(self) -> bool:
        """True while somebody in the room has turned sensing off."""
        return _there(self._local) or self._switch()

    @property
    def remote(self) -> bool:
        """True while the network has turned sensing off."""
        return self._asked or _there(self._remote)

    def reason(self) -> str | None:
        """ "paused", or None if sensing may run."""
        return "paused" if self.remote or self.local else None

    def pause(self) -> None:
        """The network's command: off, at once, and also after a restart if the disk can be written."""
        self._asked = True
        try:
            write_atomically(self._remote, b"paused by cmd/pause\n")
        except OSError as error:
            log.warning("event=pause.unwritable path=%s reason=%r", self._remote, error.strerror)

    def resume(self) -> None:
        """The network's command: undo its own pause, never a local one. Raises OSError if it cannot be removed; it then
        holds."""
        self._remote.unlink(missing_ok=True)
        if self._remote.parent.is_dir():
            sync(self._remote.parent)
        self._asked = False


def _there(path: Path) -> bool:
    """True if `path` exists, a dangling link included, or cannot be asked for."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
