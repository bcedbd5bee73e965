"""The faces that set the activation ranges. Law: training split only, every class, grey levels 0 and 255 present."""

from typing import Final

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS
from agent.errors import InputError
from agent.vision.card import Card
from agent.vision.preprocess import preprocess
from training import data, protocol

FACES: Final = 400
"""Default size, faces: 50 a class."""


def choose(split: data.Split, n: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (faces uint8 (m, 48, 48), labels (m,)) from `split`: of each class up to n / 8.

    Raises
    ------
    InputError
        a class has no face: its activations would be clipped on the device
    """
    kept, label = protocol.majority(split.votes)
    rng = np.random.default_rng(seed)
    each = max(1, n // len(LABELS))
    pools = [np.flatnonzero(kept & (label == c)) for c in range(len(LABELS))]
    missing = [name for name, pool in zip(LABELS, pools, strict=True) if not len(pool)]
    if missing:
        raise InputError(
            f"representative set: expected faces of all {len(LABELS)} classes, none of {', '.join(missing)}; "
            "take more of the data (--limit)"
        )
    chosen = np.concatenate([rng.permutation(pool)[:each] for pool in pools])
    return split.faces[chosen], label[chosen]


def again(split: data.Split, card: Card) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return a bundle's representative faces (m, side, side, 1) and labels (m,), as its card tells them."""
    how = card.quantization
    chosen, label = choose(split, max(how.per_class) * len(LABELS), how.seed)
    return pinned(chosen, card.side), label


def pinned(faces: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return `faces` (n, h, w) as network input (n, side, side, 1), the first one holding grey levels 0 and 255.

    The converter takes the input's scale from the extremes that it sees: with both present it is exactly 1.
    The change is the darkest pixel of one face and its brightest.
    """
    ready = np.stack([preprocess(face, side) for face in faces])
    first = ready[0].reshape(-1)  # a view
    darkest, brightest = int(first.argmin()), int(first.argmax())
    first[darkest] = 0
    first[brightest if brightest != darkest else -1 - darkest] = 255
    return ready
