"""How a program of this project ends: with an exit code, and at most one line on stderr; never with a traceback."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

import click

from agent.errors import AccessError, CannotWriteError, FerAgentError, UnavailableError

_ROOT: Final = Path(__file__).parents[2]
_OURS: Final = ("agent", "deploy", "training", "quantize")
_PLACES: Final = tuple(f"{_ROOT / name}{os.sep}" for name in _OURS)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What `print` raises where there is no place for its text; other errors of files have the file's name."""

_INTERRUPTED: Final = 128 + signal.SIGINT


class Program(click.Group):
    """A group of commands that end as `one_line` says; click alone calls a reader that goes away a failure."""

    def make_context(self, *given: Any, **more: Any) -> click.Context:  # prints --help
        with one_line():
            return super().make_context(*given, **more)

    def invoke(self, ctx: click.Context) -> object:
        with one_line():
            return super().invoke(ctx)


def run_program(cli: click.Command, name: str) -> NoReturn:
    """Run the program and end the process."""
    threading.excepthook = _thread_failed
    prepare_stdout()
    with one_line():
        cli(prog_name=name)
    sys.exit(0)


def prepare_stdout() -> None:
    """Have stdout show "?" where a terminal has no "→" (stderr does by itself), and write all or fail.

    Under PYTHONUNBUFFERED, which images of containers set, Python hands a text to the system once: where there is
    place for half of it, the rest is lost without an error.
    """
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    sys.stdout.reconfigure(errors="replace")
    # Another than Python's own is closed by whoever put it there.
    if isinstance(sys.stdout.buffer, io.RawIOBase) and sys.stdout is sys.__stdout__:
        whole = io.BufferedWriter(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(whole, sys.stdout.encoding, sys.stdout.errors, line_buffering=True)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Within: what fails ends the process with its exit code and one line; a reader like `head` that goes away, with 0.

    Ctrl-C ends it with 130, as shells expect: 1 is "a check failed". Click's own exceptions go on to click.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # at Python's own end what fails is a traceback, and exit 120
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        _silence(sys.stdout)
        sys.exit(0)
    except FerAgentError as error:
        _end(str(error), error.exit_code)
    except PermissionError as error:
        _end(f"{error.filename or sys.argv[0]}: permission denied", AccessError.exit_code)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is not None:
            _end(str(error), CannotWriteError.exit_code)
        if type(error) is OSError and error.filename is None and error.errno in _FULL:  # ssl has numbers of its own
            _silence(sys.stdout)
            _end(f"stdout: cannot be written: {error.strerror}", CannotWriteError.exit_code)
        _unforeseen(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] in _OURS:
            _unforeseen(error)
        what = f"expected the Python package {error.name}, got none"
        _end(f"{what}; an extra brings it: pip install '.[demo,collector]' in a checkout", UnavailableError.exit_code)
    except Exception as error:
        _unforeseen(error)


def _end(line: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        click.echo(f"error: {line}", err=True)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _silence(sys.stdout)
    sys.exit(code)


def _unforeseen(error: Exception) -> NoReturn:
    if sys.flags.dev_mode:  # python -X dev -m agent …, for who mends it
        traceback.print_exception(error)
    _end(_told(error), FerAgentError.exit_code)


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
