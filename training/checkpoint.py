"""A checkpoint is a folder that appears whole or not at all: model + optimizer, and the history so far."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from agent.errors import InputError, ModelError, first_line
from agent.trust.files import sync


@dataclass(frozen=True)
class Checkpoint:
    """A finished epoch."""

    epoch: int
    """Epochs done."""
    path: Path
    history: list[dict[str, float]]
    """One record an epoch, in order."""

    def restore(self, model: keras.Model) -> None:
        """Put weights and optimizer state into `model`, compiled as at the start of the run.

        Not the saved model itself: Keras does not save which variables its optimizer exempts from weight decay.
        """
        try:
            saved = read(self.path / "model.keras", compiled=True)
        except ModelError as cause:
            raise ModelError(f"{cause}; delete {self.path} to go on from the epoch before it") from cause
        model.set_weights(saved.get_weights())
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
            variable.assign(value)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Make the folder `run` and keep others out of it; raises InputError where one is at work in it, or a file is."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as cause:
        raise InputError(f"{run}: expected a folder for the run, got a file at {cause.filename}") from cause
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however that ends
        yield
    except BlockingIOError as cause:
        raise InputError(f"{run}: another run is at work in this folder; name another one") from cause
    finally:
        os.close(descriptor)


def read(path: Path, *, compiled: bool = False) -> keras.Model:
    """Return the model in the .keras file `path`, `compiled` with its optimizer, or raise ModelError."""
    try:
        return keras.saving.load_model(path, compile=compiled)
    except Exception as cause:  # Keras, zipfile and h5py each have their own; the reader can only replace the file
        raise ModelError(
            f"{path}: expected a readable Keras model, got {type(cause).__name__}: {first_line(cause)}"
        ) from cause


def write(model: keras.Model, path: Path) -> None:
    """Write `model` without its optimizer as the .keras file `path`, whole or not at all, also where power fails."""
    # Keras writes the optimizer of a compiled model, whatever it is told.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    partial = path.with_suffix(".partial.keras")
    try:
        bare.save(partial)
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # a full disk gets its room back
        raise
    sync(path.parent)


def save(run: Path, model: keras.Model, history: list[dict[str, float]], keep: int = 2) -> None:
    """Write the checkpoint of epoch `len(history)`; the newest `keep`, at least two, stay.

    Whatever ends this half-way (a kill, a full disk) leaves the earlier checkpoints as they were.
    """
    target = run / f"epoch-{len(history):04d}"
    for left in run.glob(".epoch-*.partial"):  # of a kill
        shutil.rmtree(left)
    temporary = run / f".{target.name}.partial"
    temporary.mkdir(parents=True)
    try:
        model.save(temporary / "model.keras")
        (temporary / "history.json").write_text(json.dumps(history, indent=1))
        for path in (*temporary.iterdir(), temporary):
            sync(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk gets its room back
        raise
    if target.exists():  # an epoch run again after its checkpoint was refused as unreadable
        shutil.rmtree(target)
    temporary.rename(target)
    sync(run)
    for old in _epochs(run)[:-keep]:
        shutil.rmtree(old)


def latest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint in `run`, or None."""
    for path in reversed(_epochs(run)):
        try:
            history: list[dict[str, Any]] = json.loads((path / "history.json").read_text())
        except (OSError, ValueError):
            continue
        if (path / "model.keras").is_file():
            return Checkpoint(epoch=len(history), path=path, history=history)
    return None


def to_go_on(run: Path, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint that a run in the folder `run` goes on from; None where it begins there.

    Raises
    ------
    InputError
        `run` holds what a new run would overwrite: another one, or what is left of one without its checkpoints
    """
    found = latest(run)
    if found is not None and not resume:
        raise InputError(f"{run}: holds a run already; add --resume, or name another folder with --run")
    left = [name for name in ("history.csv", "final.keras") if (run / name).exists()]
    if found is None and left:
        raise InputError(f"{run}: holds {left[0]} and no whole checkpoint; a new run needs another folder")
    return found


def _epochs(run: Path) -> list[Path]:
    """Return the checkpoints in `run`, oldest first, also past epoch 9,999; what has another name is somebody's own."""
    named = [path for path in run.glob("epoch-*") if re.fullmatch(r"epoch-\d{4,}", path.name)]
    return sorted(named, key=lambda path: (len(path.name), path.name))
