"""Memory stays memory: no core dump, no swap, and no other process of the user may read it."""

import contextlib
import ctypes
import logging
import os
import resource
from typing import Final

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE: Final = 4
"""linux/prctl.h. Not dumpable: no core file even through a pipe handler, /proc/<pid>/mem closed to the own user."""


_MCL_ALL: Final = 1 | 2 | 4
"""sys/mman.h: MCL_CURRENT, MCL_FUTURE and MCL_ONFAULT, which takes no memory that is not used."""


def keep_memory_private() -> None:
    """Switch core dumps off for good (the hard limit too), and keep this memory out of swap where that is allowed.

    Call first of all: frames live in this memory. The unit allows the lock (LimitMEMLOCK=) and its MemorySwapMax= is
    the second wall, which kernels without a memory controller lack, as those of Raspberry Pi OS do. By hand only root
    may lock so much.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("event=hardening.prctl errno=%d", ctypes.get_errno())
    with contextlib.suppress(ValueError, OSError):  # root may; it stays so for whom root becomes
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    # With a limit, a lock of all that is to come would have a later allocation fail. For root there is none.
    unlimited = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if unlimited and libc.mlockall(_MCL_ALL) != 0:
        log.warning("event=hardening.mlockall errno=%d", ctypes.get_errno())
