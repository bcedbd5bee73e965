"""How a program of this project ends: with an exit code, and at most one line on stderr; never with a traceback."""

import contextlib
import errno
import io
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Final, NoReturn, TextIO

import click

from agent.errors import AccessError, CannotWriteError, FerAgentError

_ROOT: Final = Path(__file__).parents[2]
_PLACES: Final = tuple(f"{_ROOT / name}{os.sep}" for name in ("agent", "deploy", "training", "quantize"))

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
"""What `print` raises where there is no place for its text; other errors of files have the file's name."""


class Program(click.Group):
    """A group of commands whose reader may go away: `head` and `less` are no failure."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _silence(sys.stdout)
            ctx.exit(0)  # click alone would end with 1, "a check failed"


def run_program(cli: click.Command, name: str) -> NoReturn:
    """Run the program and end the process."""
    threading.excepthook = _thread_failed
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without "→" shows "?"; stderr does as much by itself
    try:
        cli(prog_name=name)
    except FerAgentError as error:
        _end(str(error), error.exit_code)
    except PermissionError as error:
        _end(f"{error.filename or name}: permission denied", AccessError.exit_code)
    except OSError as error:
        if type(error) is OSError and error.filename is None and error.errno in _FULL:  # ssl has numbers of its own
            _silence(sys.stdout)
            _end(f"stdout: cannot be written: {error.strerror}", CannotWriteError.exit_code)
        _end(_told(error), FerAgentError.exit_code)
    except Exception as error:
        _end(_told(error), FerAgentError.exit_code)
    sys.exit(0)


def _end(line: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        click.echo(f"error: {line}", err=True)
    sys.exit(code)


def _told(error: BaseException) -> str:
    """One line: what came, and the last place of this project that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{f.filename}:{f.lineno}" for f in frames if f.filename.startswith(_PLACES)]
    where = f" at {ours[-1]}" if ours else ""
    return f"internal: {type(error).__name__}: {' '.join(str(error).split())}{where}; please report it"


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        with contextlib.suppress(OSError):
            click.echo(f"error: {_told(arguments.exc_value)}", err=True)


def _silence(stream: TextIO | None) -> None:
    """Have what is still in the buffer go nowhere: Python would complain again while it flushes at exit."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
