"""What the commands of training/ and quantize/ share: errors become one line on stderr and an exit code."""

import functools
from collections.abc import Callable
from typing import ParamSpec

from agent.cli._ending import one_line
from agent.errors import CannotWriteError

P = ParamSpec("P")


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that errors, a full disk included, end it without a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        with one_line():
            try:
                command(*args, **kwargs)
            except (BrokenPipeError, PermissionError):
                raise
            except OSError as error:  # numpy and Keras write through libraries that forget the file's name
                raise CannotWriteError(str(error)) from error

    return wrapper
