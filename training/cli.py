"""What the commands of training/ and quantize/ share: options; errors become one line and an exit code."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from agent.cli import _options
from agent.cli._ending import one_line, prepare_stdout
from agent.errors import CannotWriteError, UsageError

P = ParamSpec("P")

with_data = click.option(
    "--data",
    "directory",
    type=click.Path(path_type=Path),
    envvar="FER_DATA",
    required=True,
    help="FER2013 + FERPlus, either layout [FER_DATA].",
)
with_limit = click.option(
    "--limit", type=click.IntRange(min=1), default=None, help="Use only this many faces a split (to try a command)."
)


def with_looks(command: Callable[P, None]) -> Callable[P, None]:
    """Add the options of `predict.looking`."""
    flip = click.option("--flip", is_flag=True, help="Average over each face and its mirror image (twice the cost).")
    upright = click.option(
        "--upright", is_flag=True, help="Average over each face and itself upright (training.upright; twice the cost)."
    )
    return flip(upright(command))


with_teachers = click.option(
    "--teacher",
    "teachers",
    type=click.Path(path_type=Path),
    multiple=True,
    help="For a config with teacher_share: a file of training.distill, or a model that looks at each augmented face; "
    "several models teach their mean.",
)


_BACKENDS = ("tensorflow", "torch", "jax")


def expect_writable(path: Path, suffix: str) -> None:
    """Raise UsageError where `path` does not end in `suffix`, by which those who read the file know it; else as
    `_options.expect_writable`."""
    if path.suffix != suffix:
        raise UsageError(f"{path}: expected a name that ends in {suffix}")
    _options.expect_writable(path)


def with_start(command: Callable[P, None]) -> Callable[P, None]:
    """Add the options of a command that writes a network to train on, `out` and `faces`."""
    out = click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (.keras).")
    faces = click.option(
        "--faces", type=click.IntRange(min=8), default=1024, show_default=True, help="Training faces it looks at."
    )
    return out(faces(command))


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that errors, a full disk or no backend for Keras included, end it without a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        prepare_stdout()
        with one_line():
            try:
                command(*args, **kwargs)
            except (BrokenPipeError, PermissionError):
                raise
            except ModuleNotFoundError as error:  # Keras imports its backend, of which it looks up the name alone
                if error.name not in _BACKENDS:
                    raise
                what = f"expected {error.name}, the backend that KERAS_BACKEND or ~/.keras/keras.json names, got none"
                raise UsageError(f"{what}; run: pip install {error.name}, or unset it") from error
            except ValueError as error:  # Keras knows no backend of that name, and says so while it is imported
                if not str(error).startswith("Unable to import backend"):
                    raise
                what = f"expected KERAS_BACKEND or ~/.keras/keras.json to name one of {', '.join(_BACKENDS)}"
                raise UsageError(f"{what}, got {str(error).rpartition(' ')[2]}") from error
            except OSError as error:  # numpy and Keras write through libraries that forget the file's name
                raise CannotWriteError(str(error)) from error

    return wrapper
