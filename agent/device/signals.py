"""SIGTERM and SIGINT: the end that the service manager or a person asks for. SIGHUP at a terminal: it was closed."""

import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue


def closes_with_its_terminal() -> bool:
    """Whether somebody started this by hand: then SIGHUP means that they left, not that the configuration changed."""
    return os.isatty(0)


def on_end(callback: Callable[[], object], *, hangup: bool = False) -> None:
    """Call `callback` once, in a thread of its own, at the first SIGTERM or SIGINT, with `hangup` SIGHUP, too (main
    thread only).

    Not in the handler: it runs in the main thread between two of its steps, and where that thread is inside
    `threading.Event.wait`, `set` on the same event would wait for ever for the lock that the step below it holds.
    `SimpleQueue.put` is the one way out of a handler that Python promises to be reentrant.
    """
    asked: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangup else [])):
        signal.signal(number, lambda got, _: asked.put(got))

    def wait() -> None:
        asked.get()
        callback()

    threading.Thread(target=wait, name="signals", daemon=True).start()
