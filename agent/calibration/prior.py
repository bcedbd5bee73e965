"""Prior correction: a room where emotions are as common as elsewhere than in the training data. Pure functions.

Saerens, Latinne & Decaestecker 2002 (Neural Computation 14:21): if only the shares of the classes differ and a face
of a class looks the same here as there, the shares follow from the probabilities by expectation-maximization. The
fit test asks whether that "if" can be true: the classes' shares alone must explain how often each top class comes
surely or unsurely. It cannot see a look that is added to every face alike (light in which all look sadder): that is
how a room of sadder people looks, and is taken for one. Law: measured once, in a baseline session; never in the window
that is being reported, where the shift is the signal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.calibration.parts import LARGEST_RATIO
from agent.emotions import LABELS

Floats = npt.NDArray[np.float64]

SURE: Final = 0.6
"""Top probability from which a look counts as sure."""
CELLS: Final = 2 * len(LABELS)
"""What the fit test counts: top class, unsure or sure."""
WORST_FIT: Final = 3.0
"""Largest χ²/df at which the correction may be switched on."""
WORST_CUT: Final = 0.01
"""Largest `Correction.cut` at which it may. The lower bound is no sign of anything: a rare emotion that nobody shows
reaches it in most rooms, and what it adds is a fifth of that emotion's share at most."""
_LEAST_EXPECTED: Final = 5.0
"""Cells in which fewer (effective) looks are expected are counted together (Cochran 1954)."""
_ROUNDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Correction:
    """What the expectation-maximization found."""

    ratio: tuple[float, ...]
    """Eight factors on the probabilities, room's share ÷ training's, each in [1/5, 5]."""
    shares: tuple[float, ...]
    """The room's estimated shares, sum 1."""
    fit: float
    """χ²/df: about 1 where the assumption holds; above `WORST_FIT` it does not; infinite where it cannot be tested."""
    cut: float
    """Largest share of the room that a factor's upper bound cuts off one emotion, 0-1; above `WORST_CUT` no shift of
    shares is plausible that would explain it."""


def cells(probabilities: Floats) -> npt.NDArray[np.int64]:
    """Return the cell 0-15 of each row of probabilities (n, 8): twice the top class, plus 1 if it is sure."""
    return np.asarray(2 * probabilities.argmax(axis=1) + (probabilities.max(axis=1) >= SURE), dtype=np.int64)


def reference(probabilities: Floats, targets: npt.NDArray[np.floating]) -> Floats:
    """Return joint shares (16, 8), sum 1: cell of the probabilities (n, 8) x vote distribution (n, 8), which may be
    weighted: a row counts what it sums to."""
    joint = np.zeros((CELLS, len(LABELS)))
    np.add.at(joint, cells(probabilities), np.asarray(targets, dtype=np.float64))
    return np.asarray(joint / joint.sum())


def correct(seats: Sequence[Floats], joint: npt.ArrayLike) -> Correction:
    """Return the room's prior correction, with the test that says whether it may be used.

    Parameters
    ----------
    seats : k >= 2 arrays (m_i, 8): calibrated probabilities of one person in order of time, rows sum to 1
    joint : (16, 8), see `reference`, of faces that the calibration was fitted to

    Raises
    ------
    ValueError
        fewer than two seats, an empty one, or a reference of another shape
    """
    source = np.asarray(joint, dtype=np.float64)
    if source.shape != (CELLS, len(LABELS)):
        raise ValueError(f"expected a reference of shape {(CELLS, len(LABELS))}, got {source.shape}")
    if len(seats) < 2 or not all(len(seat) for seat in seats):
        raise ValueError(f"expected at least two seats with a sample each, got {[len(seat) for seat in seats]}")
    prior = source.sum(axis=0)
    shares = _maximized(seats, prior)
    ratio = np.clip(shares / np.maximum(prior, 1e-12), 1 / LARGEST_RATIO, LARGEST_RATIO)
    cut = max(0.0, float((shares - LARGEST_RATIO * prior).max()))
    return Correction(tuple(map(float, ratio)), tuple(map(float, shares)), _fit(seats, source, shares), cut)


def _maximized(seats: Sequence[Floats], prior: Floats) -> Floats:
    """Return the shares (8,) under which the seats' probabilities are most likely; every seat has equal weight."""
    rows = np.concatenate(seats)
    weight = np.concatenate([np.full(len(seat), 1 / (len(seats) * len(seat))) for seat in seats])
    shares = prior
    for _ in range(_ROUNDS):
        posterior = rows * (shares / np.maximum(prior, 1e-12))
        posterior /= posterior.sum(axis=1, keepdims=True)
        before, shares = shares, weight @ posterior
        if np.abs(shares - before).max() < 1e-7:
            break
    return np.asarray(shares)


def _fit(seats: Sequence[Floats], joint: Floats, shares: Floats) -> float:
    """Return χ²/df between the cells seen and those that `shares` predict, people being the units that were sampled.

    Looks at one person resemble each other: the number of looks is divided by the mean design effect, taken from the
    differences between people (Rao & Scott 1981).
    """
    seen = np.array([np.bincount(cells(seat), minlength=CELLS) / len(seat) for seat in seats])
    expected = joint @ (shares / np.maximum(joint.sum(axis=0), 1e-12))
    expected /= expected.sum()
    n = _effective_looks(seats, seen, expected)
    groups = _groups(n * expected)
    observed, wanted = (np.array([shares[group].sum() for group in groups]) for shares in (seen.mean(axis=0), expected))
    chi2 = n * float(((observed - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum())
    # As many shares were fitted as classes have a cell of their own here, less one for their sum.
    fitted = len({int(group[0]) // 2 for group in groups if len(group) == 1}) - 1
    degrees = len(groups) - 1 - max(0, fitted)
    # With nothing left to compare, the assumption cannot be tested, and what cannot be tested is not used.
    return chi2 / degrees if degrees > 0 else math.inf


def _groups(expected: Floats) -> list[npt.NDArray[np.int64]]:
    """Return cells grouped so that enough looks are expected in each group: the rare ones are put together."""
    order = np.argsort(-expected, kind="stable")
    common = int((expected >= _LEAST_EXPECTED).sum())
    groups, rare = [order[i : i + 1] for i in range(common)], order[common:]
    if len(rare) and (expected[rare].sum() >= _LEAST_EXPECTED or not groups):
        return [*groups, rare]
    return [*groups[:-1], np.concatenate([groups[-1], rare])] if len(rare) else groups


def _effective_looks(seats: Sequence[Floats], seen: Floats, expected: Floats) -> float:
    """Return how many independent looks the seats are worth: at most all, at least one a person."""
    looks = sum(map(len, seats))
    between = float(seen.var(axis=0, ddof=1).sum()) / len(seats)
    alone = float((expected * (1 - expected)).sum()) / looks
    effect = max(1.0, between / alone) if alone > 0 else 1.0
    return max(float(len(seats)), looks / effect)
