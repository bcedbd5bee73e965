"""A bar on stderr for what Keras does in silence: stdout belongs to what a command reports."""

from typing import Any

import keras
from tqdm import tqdm

Logs = dict[str, Any] | None


class Bar(keras.callbacks.Callback):
    """A bar an epoch while a network trains, and one for all faces while it predicts."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title, self._bar = title, tqdm(disable=True)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras calls these by name)
        """Begin a bar for 0-based `epoch`."""
        epochs = self.params["epochs"]
        self._begin(self._title if epochs == 1 else f"{self._title}, epoch {epoch + 1} of {epochs}", "step")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """Count a step."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """Leave the validation accuracy behind, where it is measured."""
        if "val_accuracy" in (logs or {}):
            self._bar.set_postfix_str(f"validation accuracy {float(logs['val_accuracy']):.4f}")
        self._bar.close()

    def on_predict_begin(self, logs: Logs = None) -> None:  # noqa: ARG002
        """Begin a bar for a prediction."""
        self._begin(self._title, "batch")

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """Count a batch."""
        self._bar.update()

    def on_predict_end(self, logs: Logs = None) -> None:  # noqa: ARG002
        """Leave the bar where it is."""
        self._bar.close()

    def _begin(self, title: str, unit: str) -> None:
        self._bar = tqdm(total=self.params.get("steps"), desc=title, unit=unit, mininterval=1)


def bars(title: str | None) -> list[keras.callbacks.Callback]:
    """Return the bar called `title` as callbacks; none without one."""
    return [] if title is None else [Bar(title)]
