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

Told = Callable[[str, str, str], None]
"""f(kind, reason, detail), e.g. `Publisher.event`; called in the thread of the install."""


class Orders:
    """The commands of one run.

    told: gets ("model", "installed", id) or ("model", "refused", why) when an install has ended
    """

    def __init__(self, pause: Pause, models: ModelStore, told: Told) -> None:
        self._pause, self._models, self._told = pause, models, told
        self._install: threading.Thread | None = None
        self.handlers: Final[dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = {
            "pause": self._do_pause,
            "resume": self._do_resume,
            "model-install": self._do_install,
        }

    def wait(self, timeout: float) -> bool:
        """Wait for an install that is under way, at most `timeout` seconds; True if none is left."""
        if self._install is not None:
            self._install.join(timeout)
        return self._install is None or not self._install.is_alive()

    def _do_pause(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        self._pause.pause()
        return {"sensing": "off"}

    def _do_resume(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            on = self._pause.resume()
        except OSError as cause:
            raise CannotWriteError(f"the pause cannot be removed ({cause.strerror}); it holds") from cause
        return {"sensing": "on"} if on else {"sensing": "off", "reason": "paused in the room"}

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
