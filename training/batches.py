"""Faces in memory → augmented batches, the same for a seed and an epoch on every backend."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from agent.vision.preprocess import preprocess
from training.augment import augment
from training.config import Augment


class Batches(keras.utils.PyDataset):
    """One phase of training data; an incomplete last batch is left out, so that shapes never change."""

    def __init__(
        self,
        faces: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.float32],
        *,
        batch: int,
        side: int,
        how: Augment,
        seed: int,
        epoch: int,
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Take faces (n, 48, 48) and targets (n, 8); `epoch` is the 0-based epoch that comes first."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._faces, self._targets, self._weights = faces, targets, weights
        self._batch, self._side, self._how, self._seed = batch, side, how, seed
        self._start(epoch)

    def _start(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._faces))

    def __len__(self) -> int:
        return len(self._faces) // self._batch

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._start(self._epoch + 1)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        x = as_input([augment(self._faces[i], self._how, rng) for i in chosen], self._side)
        if self._weights is None:
            return x, self._targets[chosen]
        return x, self._targets[chosen], self._weights[chosen]


def as_input(faces: Any, side: int) -> npt.NDArray[np.float32]:
    """Return grey faces (iterable of (h, w) uint8) as the network takes them: float32 (n, side, side, 1), 0-255."""
    return np.stack([preprocess(face, side) for face in faces]).astype(np.float32)
