"""Callbacks of a run: checkpoints, history and the best model; the average of weights; dropout that can be resumed."""

import csv
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from agent.errors import FerAgentError
from training import checkpoint
from training.batches import Batches

Logs = dict[str, float] | None


class Keeper(keras.callbacks.Callback):
    """After each epoch: history.csv, a checkpoint, best.keras if validation improved; stops without progress.

    Accuracies at different input sides do not compare: the best is the best of the current phase.
    """

    def __init__(self, run: Path, history: list[dict[str, float]], patience: int | None, checkpoints: int = 2) -> None:
        super().__init__()
        self._run, self.history, self._patience, self._checkpoints = run, history, patience, checkpoints
        self.side = 0
        """Input of the current phase, pixels."""
        self.first = 0
        """First epoch of the current phase, 0-based."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keep what epoch `epoch` (0-based) gave."""
        record = {"epoch": epoch + 1, "side": self.side, **{k: float(v) for k, v in (logs or {}).items()}}
        if not math.isfinite(record["loss"]):
            what = f"epoch {epoch + 1}: the loss is {record['loss']}"
            raise FerAgentError(
                f"{what}; lower learning_rate and name another folder: --resume takes the same rate alone"
            )
        best = max(self.accuracies(), default=-1.0)
        self.history.append(record)
        # best.keras comes first: a kill in between repeats this epoch, and writes the same best.keras again.
        if record["val_accuracy"] > best:
            with averaged(self.model):
                checkpoint.write(self.model, self._run / "best.keras")
        checkpoint.save(self._run, self.model, self.history, self._checkpoints)
        write_history(self._run / "history.csv", self.history)
        if self._patience is not None and not improved_lately(self.accuracies(), self._patience):
            self.model.stop_training = True

    def accuracies(self) -> list[float]:
        """Return the validation accuracies of the current phase's epochs, in order."""
        return [record["val_accuracy"] for record in self.history[self.first :]]


def improved_lately(values: list[float], patience: int) -> bool:
    """Return whether the best of `values`, one an epoch, is among the last `patience`."""
    return len(values) - 1 - int(np.argmax(values)) < patience


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch as the CSV file `path`, whole or not at all."""
    with open(path.with_suffix(".partial"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(history)
    path.with_suffix(".partial").replace(path)


class Starter(keras.callbacks.Callback):
    """Before each epoch: the faces' order and dropout's state, from seed and epoch: a resumed run has the same."""

    def __init__(self, batches: Batches, seed: int) -> None:
        super().__init__()
        self._batches, self._seed = batches, seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras calls it by name)
        """Shuffle, and reseed every layer that draws random numbers."""
        self._batches.start(epoch)
        # torch's dropout draws from torch's own global state, the other backends' from each layer's.
        keras.utils.set_random_seed(int(np.random.default_rng([self._seed, epoch]).integers(2**31)))
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                state = np.random.default_rng([self._seed, epoch, number]).integers(2**31, size=2)
                generator.state.assign(state.astype(np.uint32))


class ValidateAveraged(keras.callbacks.Callback):
    """Validation sees the averaged weights, training goes on with its own."""

    def __init__(self) -> None:
        super().__init__()
        self._swap: AbstractContextManager[None] | None = None

    def on_test_begin(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras calls it by name)
        """Put the average in."""
        self._swap = averaged(self.model)
        self._swap.__enter__()

    def on_test_end(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras calls it by name)
        """Put the trained weights back."""
        assert self._swap is not None
        self._swap.__exit__(None, None, None)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within: `model` has the exponential average of its weights, if its optimizer keeps one."""
    optimizer: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # float16 wraps it for loss scaling
    if not optimizer.use_ema:
        yield
        return
    raw = _values(model)
    optimizer.finalize_variable_values(model.trainable_variables)
    _assign(model, _values(model))  # copies: JAX deletes what a step consumed, and the optimizer still needs its own
    try:
        yield
    finally:
        _assign(model, raw)


def _values(model: keras.Model) -> list[npt.NDArray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]


def _assign(model: keras.Model, values: list[npt.NDArray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
