"""SIGTERM and SIGINT: the end that the service manager or a person asks for."""

import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue


def on_end(callback: Callable[[], object]) -> None:
    """Call `callback` once, in a thread of its own, at the first SIGTERM or SIGINT (main thread only).

    Not in the handler: it runs in the main thread between two of its steps, and where that thread is inside
    `threading.Event.wait`, `set` on the same event would wait for ever for the lock that the step below it holds.
    `SimpleQueue.put` is the one way out of a handler that Python promises to be reentrant.
    """
    asked: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: asked.put(got))

    def wait() -> None:
        asked.get()
        callback()

    threading.Thread(target=wait, name="signals", daemon=True).start()
