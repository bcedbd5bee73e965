"""Part "probabilities": the scaling that the model ships with, or one fitted to this room's own labelled crops.

Crops are pictures of faces in a folder an emotion (`happiness/1.png`, …), cut as the agent cuts them. They are read,
never copied; the calibration holds nine numbers and a table of shares.

Law: the mix of the folder does not matter. Who labels takes what is rare first, and a fit to that mix would take rare
emotions for common ones in the room (biases are log shares). Each crop counts as common as its emotion is where the
model's own calibration was fitted, in the fit, in what judges it and in the table: only how faces look is learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.calibration import parts, prior, probabilities
from agent.emotions import LABELS
from agent.errors import CheckFailed, InputError
from agent.vision.card import Calibration as Scaling
from agent.vision.model_card import Bundle
from agent.vision.preprocess import preprocess

WORST_ECE: Final = 0.05
"""Largest calibration error of the top class. The faces are ones that the scaling was not fitted to, but for a bundle
that nobody measured on the test split: its card has the error on the faces of the fit alone, which flatters it."""
LEAST_CROPS: Final = 200
LEAST_EACH: Final = 5
"""Crops of each emotion: a bias fitted to fewer says nothing."""
LEAST_WORTH: Final = 150.0
"""Crops of the room's own mix that the weighted ones must be worth, Kish's (Σw)² / Σw²: with fewer the calibration
error of a right fit is above `WORST_ECE` three times in four by chance, so that what passes says little (simulated)."""
SHARES: Final = (0.3474, 0.2541, 0.1278, 0.1237, 0.0917, 0.0135, 0.0292, 0.0126)
"""How common each emotion is where the model's card does not say: vote shares of FERPlus' validation split."""
FOLDS: Final = 5
"""Of which each is judged by a scaling that was fitted to the other four."""
_SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".pgm", ".png")

Bars = tuple[tuple[int, float, float], ...]
"""Reliability diagram: (faces, mean confidence, mean truth) a bin."""


@dataclass(frozen=True)
class Found:
    """The part, with the diagrams that show what it is worth."""

    part: parts.Probabilities
    before: Bars
    """Of the model's own scaling on the same faces; empty if nothing was fitted."""
    after: Bars
    """Of the part's scaling on faces that it was not fitted to, or as the card has it: on those of the fit."""
    in_sample: bool = False
    """Whether the part's calibration error, too, is on the faces of the fit."""


def shipped(bundle: Bundle) -> Found:
    """Return the model's own scaling, by what its card says of the test split.

    A bundle that was made without --test has no such number. Then the one on validation is taken, and `in_sample` says
    so: the scaling was fitted there, and its error elsewhere is larger.

    Raises
    ------
    CheckFailed
        the model was never calibrated, or its calibration error is above `WORST_ECE`
    """
    card = bundle.card
    measured = {m.split: m for m in card.metrics if (m.name, m.model, m.faces) == ("ece", "int8", "all")}
    metric = measured.get("test") or measured.get("validation")
    if card.calibration.method != "bcts" or metric is None:
        raise CheckFailed(
            f"probabilities: expected a calibrated model, got {card.id} without calibration or its error on a split; "
            "take another model, or give --labelled"
        )
    in_sample = metric.split == card.calibration.split
    if metric.value > WORST_ECE:
        where = f"the {metric.split} split" + (", which it was fitted to" if in_sample else "")
        raise CheckFailed(
            f"probabilities: expected a calibration error of at most {WORST_ECE}, {card.id} has {metric.value:.3f} on "
            f"{where}; take another model, or give --labelled"
        )
    nine_numbers = card.calibration.model_copy(update={"reference": (), "bars": ()})
    part = parts.Probabilities(origin="model", scaling=nine_numbers, ece=metric.value, n=metric.n)
    return Found(part, (), card.calibration.bars, in_sample=in_sample)


def expect(folder: Path) -> None:
    """Raise InputError if `folder` is none: before people sit still for minutes, not after."""
    if not folder.is_dir():
        raise InputError(f"--labelled: expected a folder with one folder an emotion, got {folder}")


def read(folder: Path, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Return (inputs (n, side, side, 1), one-hot targets (n, 8)) of the crops in `folder`.

    Raises
    ------
    InputError
        no such folder, a folder of an unknown emotion, or a file that is no picture
    CheckFailed
        too few crops, or too few of an emotion
    """
    expect(folder)
    if unknown := sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in LABELS):
        raise InputError(f"--labelled: expected folders called {', '.join(LABELS)}, got {unknown[0]!r}")
    faces, label = [], []
    for number, name in enumerate(LABELS):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() not in _SUFFIXES:
                continue
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise InputError(f"--labelled: expected a picture, got {path}")
            faces.append(preprocess(np.asarray(picture, np.uint8), side))
            label.append(number)
    each = np.bincount(np.array(label, dtype=np.int64), minlength=len(LABELS))
    if len(faces) < LEAST_CROPS or each.min() < LEAST_EACH:
        raise CheckFailed(
            f"probabilities: expected at least {LEAST_CROPS} crops, {LEAST_EACH} of each emotion, got {len(faces)} "
            f"({', '.join(f'{name} {n}' for name, n in zip(LABELS, each.tolist(), strict=True))})"
        )
    return np.stack(faces), np.eye(len(LABELS))[label]


def fitted(logits: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], own: Scaling) -> Found:
    """Return the scaling fitted to `logits` (n, 8) and one-hot `targets` (n, 8) of crops weighted to `own`'s shares.

    It is judged, by the same weights, on folds that it was not fitted to.

    Raises
    ------
    CheckFailed
        the weighted crops are worth fewer than `LEAST_WORTH`, its calibration error is above `WORST_ECE`, or the
        model's `own` scaling explains the crops better
    """
    weights = weighted(targets, own)
    try:
        held_out = cross_fitted(logits, targets, weights)
    except ValueError as cause:
        raise CheckFailed(f"probabilities: {cause}; are the crops in the right folders?") from cause
    before = probabilities.apply(logits, own.temperature, own.biases)
    error = probabilities.ece(held_out, targets, weights)
    if error > WORST_ECE:
        raise CheckFailed(
            f"probabilities: expected a calibration error of at most {WORST_ECE} on crops left out of the fit, got "
            f"{error:.3f}; label more crops"
        )
    fit, theirs = (probabilities.nll(p, targets, weights) for p in (held_out, before))
    if fit >= theirs:
        raise CheckFailed(
            "probabilities: the model's own calibration explains these crops better than a fit to them "
            f"({theirs:.3f} against {fit:.3f} nats); leave --labelled away"
        )
    temperature, biases = probabilities.fit_bcts(logits, targets, weights)
    joint = prior.reference(probabilities.apply(logits, temperature, biases), weights[:, np.newaxis] * targets)
    scaling = Scaling(
        method="bcts",
        temperature=temperature,
        biases=tuple(map(float, biases)),
        split="room",
        n=len(logits),
        reference=tuple(tuple(round(float(v), 8) for v in row) for row in joint),
        bars=bars(held_out, targets, weights),
    )
    part = parts.Probabilities(origin="crops", scaling=scaling, ece=error, n=len(logits))
    return Found(part, bars(before, targets, weights), scaling.bars)


def weighted(targets: npt.NDArray[np.float64], own: Scaling) -> npt.NDArray[np.float64]:
    """Return weights (n,), mean 1, under which emotions are as common among `targets` (n, 8) as in `own`'s reference.

    Raises
    ------
    CheckFailed
        crops so weighted are worth fewer than `LEAST_WORTH`, with the emotion that costs most
    """
    shares = np.sum(own.reference, axis=0) if own.reference else np.array(SHARES)
    each = np.maximum(targets.sum(axis=0), 1)  # `read` saw to `LEAST_EACH`
    weights = np.asarray(targets @ (shares / each))
    weights *= len(weights) / weights.sum()
    worth = float(weights.sum() ** 2 / (weights @ weights))
    if worth < LEAST_WORTH:
        worst = int((shares**2 / each).argmax())
        raise CheckFailed(
            f"probabilities: expected crops that are worth at least {LEAST_WORTH:g} when each emotion counts as common "
            f"as it is ({LABELS[worst]} {shares[worst]:.0%}), got {worth:.0f}; label more of {LABELS[worst]}, of which "
            f"there are {each[worst]:.0f}"
        )
    return weights


def bars(p: npt.NDArray[np.float64], targets: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]) -> Bars:
    """Return the reliability diagram of probabilities (n, 8) against labels (n, 8) under weights (n,), mean 1."""
    found = probabilities.reliability(p, targets, weights)
    # Whole faces a bar, of the right sum: the ends are rounded.
    counts = np.diff(np.rint(np.cumsum([bar.weight for bar in found])), prepend=0).astype(int)
    return tuple((n, bar.confidence, bar.truth) for n, bar in zip(counts.tolist(), found, strict=True))


def cross_fitted(
    logits: npt.NDArray[np.float64],
    targets: npt.NDArray[np.floating],
    weights: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return probabilities (n, 8), each of a scaling that was fitted without its own fold; as `fit_bcts`."""
    given = np.ones(len(logits)) if weights is None else weights
    result = np.empty_like(logits)
    for held_out in folds(len(logits)):
        scaling = probabilities.fit_bcts(logits[~held_out], targets[~held_out], given[~held_out])
        result[held_out] = probabilities.apply(logits[held_out], *scaling)
    return result


def folds(n: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield which of `n` faces each of the `FOLDS` folds holds out, (n,)."""
    fold = np.arange(n) % FOLDS
    yield from (fold == number for number in range(FOLDS))
