"""Runs a program that must not outlive the thread that started it, however that ends: `Popen([*leash(), PROGRAM])`.

The kernel's signal goes to this process, which passes it on: it would forget it for a program that, started by root,
takes another user's rights, as mosquitto does.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>."""


def leash() -> list[str]:
    """Return the words to put before the program's. What is started ends by SIGTERM, after the program."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid())]


def _hold(parent: int, words: list[str]) -> int:
    """Run the program; return its exit status."""
    running: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        if not running:
            sys.exit(0)
        running[0].terminate()

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the line above
        return 0
    running.append(subprocess.Popen(words))
    return running[0].wait()


if __name__ == "__main__":
    sys.exit(_hold(int(sys.argv[1]), sys.argv[2:]))
