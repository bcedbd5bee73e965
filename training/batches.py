"""Faces in memory → augmented batches, the same for a seed and an epoch on every backend."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from agent.vision.preprocess import preprocess
from training.augment import augment
from training.config import Augment
from training.distill import OnView


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
        mixup: float = 0.0,
        weights: npt.NDArray[np.float32] | None = None,
        odds: npt.NDArray[np.float64] | None = None,
        teacher: OnView | None = None,
        teacher_share: float = 0.0,
        upright: npt.NDArray[np.uint8] | None = None,
        workers: int = 1,
    ) -> None:
        """Take faces (n, 48, 48) and targets (n, 8).

        `weights` (n,) weigh the loss; with `odds` (n,) an epoch draws n faces with replacement. A `teacher` looks at
        what the student will see, augmented and mixed (Beyer et al. 2022), and gives `teacher_share` of the target;
        with the same faces `upright` (n, 48, 48) it looks at those, too, changed anew and mixed alike, for the mean.
        More `workers` than one prepare the batches to come in threads.
        """
        # Not Keras' own `workers`: they run ahead into the next epoch, before `start` says which one that is.
        super().__init__(workers=1, use_multiprocessing=False)
        self._faces, self._targets, self._weights, self._odds = faces, targets, weights, odds
        self._batch, self._side, self._how, self._mixup, self._seed = batch, side, how, mixup, seed
        self._teacher, self._teacher_share, self._upright = teacher, teacher_share, upright
        self._at_teacher, self._at_ahead = threading.Lock(), threading.Lock()
        self._threads, self._pool = workers, ThreadPoolExecutor(workers) if workers > 1 else None
        self._ahead: dict[int, Future[tuple[Any, ...]]] = {}
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draw the order of 0-based `epoch`.

        The loop says which epoch it is: Keras tells a data set of an epoch's end also when it only looks at a batch.
        """
        rng, n = np.random.default_rng([self._seed, epoch]), len(self._faces)
        order = rng.permutation(n) if self._odds is None else rng.choice(n, n, p=self._odds)
        with self._at_ahead:  # a reader of Keras' may still be at work on the look that it took before
            self._epoch, self._order = epoch, order
            for future in self._ahead.values():
                future.cancel()
            self._ahead.clear()

    def __len__(self) -> int:
        return len(self._faces) // self._batch

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if self._pool is None:
            return self._made(self._epoch, self._order, index)
        with self._at_ahead:
            for i in range(index, min(index + 2 * self._threads, len(self))):
                if i not in self._ahead:
                    self._ahead[i] = self._pool.submit(self._made, self._epoch, self._order, i)
            future = self._ahead.pop(index)
        return future.result()

    def _made(self, epoch: int, order: npt.NDArray[np.int64], index: int) -> tuple[Any, ...]:
        """Return batch `index` of `epoch`, which shows the faces in `order`: no other state has a say in it."""
        chosen = order[index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng([self._seed, epoch, index])
        looks = [np.stack([augment(self._faces[i], self._how, rng) for i in chosen])]
        y = self._targets[chosen]
        weights = None if self._weights is None else self._weights[chosen]
        share = rng.beta(self._mixup, self._mixup) if self._mixup else 1.0
        if self._upright is not None:
            looks.append(np.stack([augment(self._upright[i], self._how, rng) for i in chosen]))
        if self._mixup:
            looks = [np.rint(mixed(look, share)).astype(np.uint8) for look in looks]  # grey levels, for a teacher
            y = mixed(y, share)
            weights = None if weights is None else mixed(weights, share)
        if self._teacher is not None:
            with self._at_teacher:  # a TFLite interpreter serves one thread
                taught = np.mean([self._teacher(look) for look in looks], axis=0)
            y = (1 - self._teacher_share) * y + self._teacher_share * taught
        x = as_input(looks[0], self._side)
        return (x, y) if weights is None else (x, y, weights)


def mixed(batch: npt.NDArray[Any], share: float) -> npt.NDArray[np.float32]:
    """Return a batch (n, …) of faces, targets or weights blended with itself in reverse: `share` of its own (0-1), the
    rest of the other."""
    own, other = np.float32(share), np.float32(1 - share)
    return np.asarray(own * batch + other * batch[::-1], np.float32)


def as_input(faces: Any, side: int) -> npt.NDArray[np.float32]:
    """Return grey faces (iterable of (h, w) uint8) as the network takes them: float32 (n, side, side, 1), 0-255."""
    return np.stack([preprocess(face, side) for face in faces]).astype(np.float32)
