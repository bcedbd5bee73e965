"""Faces of a split → float and integer logits → the numbers that a model card holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.calibration import probabilities
from agent.errors import InputError
from agent.vision.card import Calibration, Metric
from agent.vision.preprocess import preprocess
from agent.vision.runtime import Runtime
from training import data, metrics, protocol

Floats = npt.NDArray[np.float64]

PACKAGES: Final = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
"""Runtime → its distribution."""


@dataclass(frozen=True)
class Labelled:
    """Faces as the network takes them, with what annotators said."""

    name: str
    """"train", "validation" or "test"."""
    faces: npt.NDArray[np.uint8]
    """(n, side, side, 1), 0-255: every face whose top vote is an emotion."""
    votes: Floats
    """(n, 8) vote distributions, rows sum to 1."""
    majority: npt.NDArray[np.bool_]
    """(n,) whether the majority protocol keeps it."""
    label: npt.NDArray[np.int64]
    """(n,) majority label 0-7; meaningless where it is not kept."""


def labelled(dataset: data.Dataset, name: str, side: int) -> Labelled:
    """Return the faces of the split called `name`.

    Raises
    ------
    InputError
        the majority protocol keeps none
    """
    split: data.Split = getattr(dataset, name)
    majority, label = protocol.majority(split.votes)
    used, _ = protocol.argmax(split.votes)
    used |= majority
    if not majority.any():
        raise InputError(f"{name} split: expected faces that the majority protocol keeps, got none of {len(majority)}")
    faces = np.stack([preprocess(face, side) for face in split.faces[used]])
    votes = protocol.distribution(split.votes)[used].astype(np.float64)
    return Labelled(name, faces, votes, majority[used], label[used])


def drop(p: Floats, q: Floats, label: npt.NDArray[np.int64]) -> metrics.Interval:
    """Return accuracy of the probabilities `p` minus that of `q` (n, 8) on the same faces, in points."""
    lost = metrics.paired_difference(p, q, label)
    return metrics.Interval(100 * lost.value, 100 * lost.low, 100 * lost.high)


def runtime_name(runtime: Runtime) -> str:
    """Return a runtime's name and version, e.g. "litert 2.3.0"."""
    return f"{runtime.name} {version(PACKAGES[runtime.name])}"


def calibrated(logits: Floats, how: Calibration) -> Floats:
    """Return probabilities (n, 8) as the device makes them of `logits` (n, 8)."""
    return probabilities.apply(logits, how.temperature, how.biases)


def rows(faces: Labelled, floats: Floats, integers: Floats, calibration: Calibration, runtime: str) -> Iterator[Metric]:
    """Yield the card's metrics of one split from both networks' logits (n, 8); `calibration` is the integers'."""
    plain = Calibration()
    for model, logits, how in (
        ("float", floats, plain),
        ("int8 uncalibrated", integers, plain),
        ("int8", integers, calibration),
    ):
        p, who = calibrated(logits, how), {"model": model, "runtime": runtime}
        yield from _accuracies(faces, p, who)
        yield from _calibration_errors(faces, p, who)
    kept = faces.majority
    p, q = metrics.softmax(floats[kept]), metrics.softmax(integers[kept])
    where = {"model": "int8 against float", "runtime": runtime, "split": faces.name, "faces": "majority", "n": len(p)}
    yield Metric(name="agreement", value=metrics.agreement(p, q), **where)
    yield Metric(name="mean_probability_error", value=float(np.abs(p - q).mean()), **where)


def _accuracies(faces: Labelled, p: Floats, who: dict[str, Any]) -> Iterator[Metric]:
    found = metrics.measure(p[faces.majority], faces.label[faces.majority])
    where = {**who, "split": faces.name, "faces": "majority", "n": found.n}
    yield Metric(name="accuracy", value=found.accuracy.value, ci95=_ci(found.accuracy), **where)
    yield Metric(name="macro_f1", value=found.macro_f1.value, ci95=_ci(found.macro_f1), **where)


def _calibration_errors(faces: Labelled, p: Floats, who: dict[str, Any]) -> Iterator[Metric]:
    """Yield the calibration error against labels (as papers report it) and against votes (what it is fitted to)."""
    one_hot = np.eye(p.shape[1])[np.where(faces.majority, faces.label, 0)]
    for name, chosen, truth in (("majority", faces.majority, one_hot), ("all", slice(None), faces.votes)):
        error = probabilities.ece(p[chosen], truth[chosen])
        yield Metric(name="ece", value=error, split=faces.name, faces=name, n=len(p[chosen]), **who)
    yield Metric(name="nll", value=probabilities.nll(p, faces.votes), split=faces.name, faces="all", n=len(p), **who)


def _ci(interval: metrics.Interval) -> tuple[float, float] | None:
    return (interval.low, interval.high) if np.isfinite([interval.low, interval.high]).all() else None
