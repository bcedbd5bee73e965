"""What the commands of training/ share: errors become one line on stderr and an exit code."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import click

from agent.errors import CannotWriteError, FerAgentError

P = ParamSpec("P")


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that this project's errors, and a full disk, end it without a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FerAgentError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(CannotWriteError.exit_code)

    return wrapper
