"""What the network may order: pause, undo its own pause, install a signed model. Handlers for `delivery.commands`.

Handlers answer at once, for they run in the delivery's thread; an install goes on in a thread of its own and is told
as an event when it ends.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.errors import CannotWriteError, FerAgentError, TryAgainError
from agent.trust.pause import Pause
from agent.trust.store import ModelStore

log = logging.getLogger(__name__)

Handlers = dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]
"""Command → what does it; `delivery.commands.Handler` says how."""
Told = Callable[[str, str, str], None]
"""f(kind, reason, detail), e.g. `Publisher.event`; called in the thread of the install."""


_WORDS: Final = {"paused": "paused in the room", "schedule": "outside the schedule"}
"""Why sensing is still off after a resume, by `Sensing.reason`."""


def switching(pause: Pause, reason: Callable[[], str | None]) -> Handlers:
    """Return what `pause` and `resume` do. reason: why sensing is off now, or None (`Sensing.reason`)."""

    def off(_: Mapping[str, Any]) -> Mapping[str, Any]:
        pause.pause()
        return {"sensing": "off"}

    def on(_: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            pause.resume()
        except OSError as cause:
            raise CannotWriteError(f"the pause cannot be removed ({cause.strerror}); it holds") from cause
        why = reason()
        return {"sensing": "on"} if why is None else {"sensing": "off", "reason": _WORDS.get(why, why)}

    return {"pause": off, "resume": on}


class Orders:
    """The commands of one run.

    reason: why sensing is off now, or None
    told: gets ("model", "installed", id) or ("model", "refused", why) when an install has ended
    """

    def __init__(self, pause: Pause, reason: Callable[[], str | None], models: ModelStore, told: Told) -> None:
        self._models, self._told = models, told
        self._install: threading.Thread | None = None
        self.handlers: Final[Handlers] = {**switching(pause, reason), "model-install": self._do_install}

    def wait(self, timeout: float) -> bool:
        """Wait for an install that is under way, at most `timeout` seconds; True if none is left."""
        if self._install is not None:
            self._install.join(timeout)
        return self._install is None or not self._install.is_alive()

    def _do_install(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.wait(0):
            raise TryAgainError("another model is being installed")
        ref = str(body["bundle"])
        self._install = threading.Thread(target=self._run, args=(ref,), name="model-install", daemon=True)
        self._install.start()
        return {"accepted": ref}

    def _run(self, ref: str) -> None:
        try:
            name = self._models.install_named(ref)
        except FerAgentError as refused:
            log.warning("event=model.refused source=%.100r reason=%r", ref, str(refused))
            self._told("model", "refused", str(refused))
        except Exception as error:  # the agent outlives a bug in here
            log.exception("event=model.install-failed")
            self._told("model", "refused", f"internal error: {type(error).__name__}")
        else:
            log.warning("event=model.installed id=%s", name)
            self._told("model", "installed", name)
