"""A checkpoint is a folder that appears whole or not at all: model + optimizer, and the history so far."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras


@dataclass(frozen=True)
class Checkpoint:
    """A finished epoch."""

    epoch: int
    """Epochs done."""
    path: Path
    history: list[dict[str, float]]
    """One record an epoch, in order."""

    def load(self) -> keras.Model:
        """Return the model with its optimizer's state."""
        return keras.saving.load_model(self.path / "model.keras")


def save(run: Path, model: keras.Model, history: list[dict[str, float]]) -> None:
    """Write the checkpoint of epoch `len(history)` and delete those before the previous one.

    Whatever ends this half-way (a kill, a full disk) leaves the earlier checkpoints as they were.
    """
    target = run / f"epoch-{len(history):04d}"
    temporary = run / f".{target.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save(temporary / "model.keras")
    (temporary / "history.json").write_text(json.dumps(history, indent=1))
    for path in (*temporary.iterdir(), temporary):
        _fsync(path)
    if target.exists():  # an epoch run again after its checkpoint was refused as unreadable
        shutil.rmtree(target)
    temporary.rename(target)
    _fsync(run)
    for old in sorted(run.glob("epoch-*"))[:-2]:
        shutil.rmtree(old)


def latest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint in `run`, or None."""
    for path in sorted(run.glob("epoch-*"), reverse=True):
        try:
            history: list[dict[str, Any]] = json.loads((path / "history.json").read_text())
        except (OSError, ValueError):
            continue
        if (path / "model.keras").is_file():
            return Checkpoint(epoch=len(history), path=path, history=history)
    return None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
