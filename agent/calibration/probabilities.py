"""Logits → probabilities that mean what they say: bias-corrected temperature scaling, and how to check it.

softmax(z / T + b), fitted by maximum likelihood to annotators' votes (Alexandari et al. 2020, arXiv 1901.06852).
Its gradient in b is zero where the mean probability of every class equals its mean vote share: that is what makes
a room's mean index unbiased. Temperature alone cannot do that. numpy only; used offline and by `fer-agent calibrate`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS: Final = 15
"""Bins of equal width of the calibration error (Guo et al. 2017, arXiv 1706.04599)."""

_ROUNDS: Final = 100
"""Newton steps at most; about ten are needed."""

_RIDGE: Final = 1e-6
"""Keeps the biases finite where a class has no vote at all, and fixes their free common shift at 0."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram."""

    n: int
    """Samples whose confidence lies in it."""
    weight: float
    """Sum of their weights; `n` where all count alike."""
    confidence: float
    """Their mean confidence, 0-1; 0 if there are none."""
    truth: float
    """How often the predicted class is right (mean vote share of it), 0-1; 0 if there are none."""


def softmax(logits: Floats) -> Floats:
    """Return probabilities of logits (…, c), each row sums to 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def apply(logits: npt.NDArray[np.floating], temperature: float, biases: npt.ArrayLike) -> Floats:
    """Return calibrated probabilities (n, c) of logits (n, c): softmax(logits / temperature + biases)."""
    return softmax(np.asarray(logits, dtype=np.float64) / temperature + np.asarray(biases, dtype=np.float64))


def fit_bcts(
    logits: npt.NDArray[np.floating], targets: npt.NDArray[np.floating], weights: Floats | None = None
) -> tuple[float, Floats]:
    """Return (temperature, biases (c,)) that make softmax(logits / temperature + biases) most likely.

    Parameters
    ----------
    logits : (n, c), the deployed network's own (int8, dequantised), of faces that it was not trained on
    targets : (n, c) vote distributions, or one-hot labels; rows sum to 1
    weights : (n,) what each face counts, at least 0, of any sum above 0; None counts them alike

    Raises
    ------
    ValueError
        shapes differ, a value is not finite, rows do not sum to 1, or the logits tell nothing or the opposite of
        the targets (no positive temperature fits)
    """
    z, y = _checked(logits, targets)
    w = np.full(len(z), 1 / len(z)) if weights is None else weights / weights.sum()
    scale = max(float(z.std()), 1e-12)
    # One column a parameter: the slope a = 1/T on scaled logits, then one bias a class. Convex, so Newton's.
    design = np.concatenate(
        [(z / scale)[:, :, np.newaxis], np.broadcast_to(np.eye(z.shape[1]), (*z.shape, z.shape[1]))], 2
    )
    theta = np.concatenate([[scale], np.zeros(z.shape[1])])
    for _ in range(_ROUNDS):
        step = _newton_step(design, y, w, theta)
        theta = _line_search(design, y, w, theta, step)
        if np.abs(step).max() < 1e-9:
            break
    if not theta[0] > 0:
        raise ValueError("expected logits that agree with the targets, got none: no positive temperature fits")
    return scale / float(theta[0]), np.asarray(theta[1:] - theta[1:].mean())


def reliability(probabilities: Floats, targets: npt.NDArray[np.floating], weights: Floats | None = None) -> list[Bin]:
    """Return the bars of the reliability diagram of the top class, against vote shares or one-hot labels (n, c).

    `weights` (n,) are what each face counts, at least 0; None counts them alike.
    """
    w = np.ones(len(probabilities)) if weights is None else weights
    top = probabilities.argmax(axis=1)
    rows = np.arange(len(top))
    confidence, truth = probabilities[rows, top], np.asarray(targets, dtype=np.float64)[rows, top]
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bars = []
    for i in range(BINS):
        here = place == i
        weight = float(w[here].sum())
        means = [float(w[here] @ values[here]) / weight if weight else 0.0 for values in (confidence, truth)]
        bars.append(Bin(int(here.sum()), weight, *means))
    return bars


def ece(probabilities: Floats, targets: npt.NDArray[np.floating], weights: Floats | None = None) -> float:
    """Return the expected calibration error of the top class, 0-1; arguments as `reliability`."""
    bars = reliability(probabilities, targets, weights)
    return sum(bar.weight * abs(bar.confidence - bar.truth) for bar in bars) / (sum(bar.weight for bar in bars) or 1.0)


def nll(probabilities: Floats, targets: npt.NDArray[np.floating], weights: Floats | None = None) -> float:
    """Return the mean cross-entropy with the targets (n, c), nats; arguments as `reliability`."""
    return float(np.average(-(targets * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1), weights=weights))


def index_bias(probabilities: Floats, targets: npt.NDArray[np.floating], points: npt.ArrayLike) -> float:
    """Return the mean index of the probabilities minus that of the targets (n, c), points; `points` are the weights."""
    return float(
        ((probabilities - np.asarray(targets, dtype=np.float64)) @ np.asarray(points, dtype=np.float64)).mean()
    )


def _checked(logits: npt.NDArray[np.floating], targets: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if z.ndim != 2 or z.shape != y.shape or not len(z):
        raise ValueError(f"expected logits and targets of one shape (n, c), got {z.shape} and {y.shape}")
    if not (np.isfinite(z).all() and np.isfinite(y).all()):
        raise ValueError("expected finite logits and targets, got NaN or infinity")
    if (y < 0).any() or np.abs(y.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("expected targets of at least 0 whose rows sum to 1")
    return z, y


def _loss(design: Floats, y: Floats, w: Floats, theta: Floats) -> float:
    """Return the mean cross-entropy (nats) under weights (n,) of sum 1, plus the ridge on the biases."""
    u = design @ theta
    top = u.max(axis=1)
    total = np.log(np.exp(u - top[:, np.newaxis]).sum(axis=1)) + top
    return float(w @ (total - (y * u).sum(axis=1)) + _RIDGE / 2 * (theta[1:] @ theta[1:]))


def _newton_step(design: Floats, y: Floats, w: Floats, theta: Floats) -> Floats:
    p = softmax(design @ theta)
    weighted = w[:, np.newaxis] * p
    gradient = np.einsum("nc,ncj->j", weighted - w[:, np.newaxis] * y, design)
    mean = np.einsum("nc,ncj->nj", p, design)
    hessian = np.einsum("nc,nci,ncj->ij", weighted, design, design, optimize=True) - mean.T @ (w[:, np.newaxis] * mean)
    ridge = np.full(len(theta), _RIDGE)
    ridge[0] = 0.0
    # The tiny diagonal makes the system solvable when all logits are equal.
    return np.asarray(-np.linalg.solve(hessian + np.diag(ridge + 1e-12), gradient + ridge * theta))


def _line_search(design: Floats, y: Floats, w: Floats, theta: Floats, step: Floats) -> Floats:
    """Return the first of theta + step, + step/2, … that does not raise the loss."""
    before = _loss(design, y, w, theta)
    for halvings in range(30):
        moved: Floats = theta + step / 2**halvings
        if _loss(design, y, w, moved) <= before:
            return moved
    return theta
