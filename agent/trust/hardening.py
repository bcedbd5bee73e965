"""Memory stays memory: no core dump of this process or its children, and no other process of the user may read it."""

import ctypes
import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE: Final = 4
"""linux/prctl.h. Not dumpable: no core file even through a pipe handler, /proc/<pid>/mem closed to the own user."""


def no_core_dumps() -> None:
    """Switch core dumps off for good (the hard limit too). Call first of all: frames live in this memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("event=hardening.prctl errno=%d", ctypes.get_errno())
