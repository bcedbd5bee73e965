"""Probabilities and labels → scores with their 95 % intervals. Pure functions of numpy arrays."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.calibration import probabilities as calibration
from agent.emotions import LABELS

Floats = npt.NDArray[np.float64]

BINS: Final = 15
"""Confidence bins of the calibration error (Guo et al. 2017, arXiv 1706.04599)."""

RESAMPLES: Final = 2000
"""Bootstrap draws behind an interval."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Return {"value", "ci95"}, null where it is not defined."""
        low, high = _plain(self.low), _plain(self.high)
        return {"value": _plain(self.value), "ci95": None if low is None or high is None else [low, high]}


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, one entry a bin, over `BINS` equal bins of the top class' probability."""

    faces: tuple[int, ...]
    confidence: tuple[float, ...]
    """Mean confidence in the bin, 0-1; NaN where it is empty."""
    accuracy: tuple[float, ...]
    """Share right in the bin, 0-1; NaN where it is empty."""


@dataclass(frozen=True)
class Scores:
    """What one model does on one set of labelled faces."""

    n: int
    """Faces."""
    accuracy: Interval
    """0-1."""
    macro_f1: Interval
    """0-1, mean over the classes that occur or were predicted; one that was only predicted counts as 0."""
    ece: Interval
    """Expected calibration error, 0-1; with few faces a bin it leans upwards, and its interval, around it, with it."""
    precision: tuple[Interval, ...]
    """0-1, in the order of `LABELS`; NaN where the class was never predicted. Intervals are Wilson's, see `share`."""
    recall: tuple[Interval, ...]
    """0-1, in the order of `LABELS`; NaN where the class does not occur. Intervals as of `precision`."""
    support: tuple[int, ...]
    """Faces of each class."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts, row = truth, column = prediction."""
    reliability: Reliability

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        classes = zip(LABELS, self.support, self.precision, self.recall, strict=True)
        return {
            "n": self.n,
            "accuracy": self.accuracy.as_dict(),
            "macro_f1": self.macro_f1.as_dict(),
            "ece": self.ece.as_dict(),
            "classes": {
                name: {"n": n, "precision": precision.as_dict(), "recall": recall.as_dict()}
                for name, n, precision, recall in classes
            },
            "confusion": [list(row) for row in self.confusion],
        }


def softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Return float64 probabilities of the shape of `logits`, summing to 1 over the last axis."""
    return calibration.softmax(np.asarray(logits, dtype=np.float64))


def measure(
    probabilities: npt.NDArray[np.floating],
    label: npt.NDArray[np.integer],
    *,
    resamples: int = RESAMPLES,
) -> Scores:
    """Return the scores of `probabilities` (n, 8) against `label` (n,), values 0-7.

    The intervals are percentiles over faces drawn with replacement, but for those of single classes; they know nothing
    of another training seed.

    Raises
    ------
    ValueError
        no face, shapes that do not fit, or a value that is not finite
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(label)
    if p.ndim != 2 or p.shape != (len(truth), len(LABELS)) or not len(truth):
        raise ValueError(f"expected ({len(truth)}, {len(LABELS)}) probabilities of at least one face, got {p.shape}")
    if not np.isfinite(p).all() or truth.min() < 0 or truth.max() >= len(LABELS):
        raise ValueError(f"expected finite probabilities and labels 0-{len(LABELS) - 1}")
    predicted, classes = p.argmax(axis=1), len(LABELS)
    cell = np.eye(classes * classes)[truth * classes + predicted]  # (n, 64): which cell of the confusion matrix
    bins = np.eye(BINS)[_bin(p.max(axis=1))]  # (n, 15)
    gap = bins * (p.max(axis=1) - (predicted == truth))[:, np.newaxis]
    # Row 0 is the data as it is, the others are bootstrap draws: how often each face was drawn.
    n = len(truth)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    counts = np.concatenate([np.ones((1, n)), drawn])
    confusion = (counts @ cell).reshape(-1, classes, classes)
    error = np.abs(counts @ gap).sum(axis=1) / n
    # Draws add noise to every bin, a bias (Efron & Tibshirani 1993, ch. 10): with it, the value may lie below them all.
    error[1:] = np.maximum(error[1:] - (error[1:].mean() - error[0]), 0)
    right, occur, named = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (occur + named)
    return Scores(
        n=n,
        accuracy=_interval(right.sum(axis=1) / n),
        macro_f1=_interval(np.nanmean(f1, axis=1)),
        ece=_interval(error),
        precision=tuple(map(share, right[0], named[0])),
        recall=tuple(map(share, right[0], occur[0])),
        support=tuple(int(v) for v in occur[0]),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion[0]),
        reliability=_reliability(p.max(axis=1), predicted == truth, bins),
    )


def share(right: float, n: float) -> Interval:
    """Return `right` of `n` with its score interval (Wilson 1927), NaN of none.

    Not a bootstrap: faces drawn from a dozen that are all right are all right, which would claim to be sure.
    """
    if not n:
        return Interval(np.nan, np.nan, np.nan)
    z2 = 1.96**2
    middle, half = right + z2 / 2, (z2 * (right * (n - right) / n + z2 / 4)) ** 0.5
    low, high = (middle - half) / (n + z2), (middle + half) / (n + z2)
    return Interval(float(right / n), max(0.0, float(low)), min(1.0, float(high)))


def paired_difference(
    a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], label: npt.NDArray[np.integer]
) -> Interval:
    """Return accuracy of `a` minus that of `b`, both (n, 8), on the same faces with `label` (n,)."""
    n = len(label)
    gain = (a.argmax(axis=1) == label).astype(float) - (b.argmax(axis=1) == label)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return _interval(np.concatenate([[gain.mean()], drawn @ gain / n]))


def agreement(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Return the share of faces, 0-1, on which `a` and `b`, both (n, 8), have the same top class."""
    return float((a.argmax(axis=1) == b.argmax(axis=1)).mean())


def _bin(confidence: Floats) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def _reliability(confidence: Floats, right: npt.NDArray[np.bool_], bins: Floats) -> Reliability:
    faces = bins.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = [tuple(float(v) for v in (values @ bins) / faces) for values in (confidence, right.astype(float))]
    return Reliability(tuple(int(v) for v in faces), means[0], means[1])


def _interval(values: Floats) -> Interval:
    """Return the first value with the 2.5 and 97.5 percentiles of the others."""
    draws = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if draws.size else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
