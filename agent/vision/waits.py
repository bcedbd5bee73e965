"""The wait between two frames: it can be stopped, and it is seen to be a wait."""

import threading
from collections.abc import Callable
from typing import Final

_TICK_S: Final = 1.0


def stopped_before(due: float, stop: threading.Event, clock: Callable[[], float], tick: Callable[[], None]) -> bool:
    """Wait until `due`, seconds of `clock`, calling `tick` every second; return at once, True, when `stop` is set."""
    while (left := due - clock()) > _TICK_S and not stop.wait(_TICK_S):
        tick()
    return stop.wait(max(0.0, left))
