"""FERPlus votes → labels and targets. Pure functions; the majority rule is the reference code's.

Source: Barsoum et al. 2016 (arXiv 1608.01041) and the "majority" mode of its published code.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS

N_CLASSES = len(LABELS)


def _without_singles(votes: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return votes (n, 10) with single votes, taken as slips of the hand, set to 0."""
    return np.where(votes > 1, votes, 0)


def majority(votes: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return (kept, label): the protocol that every headline number here uses.

    Single votes are zeroed; the winner must have more than half of what remains; faces whose winner is
    "unknown" or "not a face" are dropped.

    Parameters
    ----------
    votes : integer array of shape (n, 10), columns as `FERPLUS_COLUMNS`

    Returns
    -------
    kept : bool array of shape (n,)
    label : int64 array of shape (n,), 0-7 where kept, undefined elsewhere
    """
    clean = _without_singles(votes)
    label = clean.argmax(axis=1)
    kept = (2 * clean.max(axis=1) > clean.sum(axis=1)) & (label < N_CLASSES)
    return kept, label


def argmax(votes: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return (kept, label): the harder protocol of later papers, every face whose top vote is an emotion.

    Shapes as in `majority`. Ties go to the first column, as numpy's argmax does.
    """
    label = votes.argmax(axis=1)
    return (label < N_CLASSES) & votes.any(axis=1), label


PROTOCOLS: Final[dict[str, Callable[[npt.NDArray[np.int64]], tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]]] = {
    "majority": majority,
    "argmax": argmax,
}
"""Name → rule; "majority" is the one of every headline number."""


def distribution(votes: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return the emotion votes as a distribution, the soft target: float32 array of shape (n, 8), rows sum to 1.

    Single votes are zeroed where something remains. A face without any emotion vote gets a row of zeros.
    """
    clean = _without_singles(votes)[:, :N_CLASSES].astype(np.float32)
    raw = votes[:, :N_CLASSES].astype(np.float32)
    chosen = np.where(clean.sum(axis=1, keepdims=True) > 0, clean, raw)
    total = chosen.sum(axis=1, keepdims=True)
    return np.divide(chosen, total, out=np.zeros_like(chosen), where=total > 0)
