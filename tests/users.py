"""Another user, for the tests of what is closed to one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have root be nobody for the block."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
