"""The callback of `training.find_lr`, apart from the command because it brings Keras."""

import math
from typing import Any

import keras


class Ramp(keras.callbacks.Callback):
    """Raises the rate before each step, notes the loss after it, and stops when it explodes."""

    def __init__(self, rates: list[float]) -> None:
        super().__init__()
        self._rates, self._seen = rates, 0.0
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 (Keras calls it by name)
        self.model.optimizer.learning_rate = self._rates[batch]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        mean = float((logs or {})["loss"])  # Keras reports the mean since the epoch began
        self.losses.append(mean * (batch + 1) - self._seen)
        self._seen = mean * (batch + 1)
        if not math.isfinite(mean) or self.losses[-1] > 4 * min(self.losses) + 1:
            self.model.stop_training = True
