"""Faces of a split → float and integer logits → the numbers that a model card holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.vision.model_card import Calibration, Metric
from agent.vision.preprocess import preprocess
from agent.vision.runtime import Runtime
from training import data, metrics, protocol

Floats = npt.NDArray[np.float64]

PACKAGES: Final = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
"""Runtime → its distribution."""


@dataclass(frozen=True)
class Labelled:
    """Faces as the network takes them, with their majority labels."""

    name: str
    """"train", "validation" or "test"."""
    faces: npt.NDArray[np.uint8]
    """(n, side, side, 1), 0-255."""
    label: npt.NDArray[np.int64]
    """(n,), 0-7."""


def labelled(dataset: data.Dataset, name: str, side: int) -> Labelled:
    """Return the faces that the majority protocol keeps in the split called `name`."""
    split: data.Split = getattr(dataset, name)
    kept, label = protocol.majority(split.votes)
    return Labelled(name, np.stack([preprocess(face, side) for face in split.faces[kept]]), label[kept])


def runtime_name(runtime: Runtime) -> str:
    """Return a runtime's name and version, e.g. "litert 2.3.0"."""
    return f"{runtime.name} {version(PACKAGES[runtime.name])}"


def probabilities(logits: Floats, calibration: Calibration) -> Floats:
    """Return calibrated probabilities (n, 8)."""
    return metrics.softmax(logits / calibration.temperature + np.asarray(calibration.biases))


def nll(p: Floats, label: npt.NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood, nats."""
    return float(-np.log(np.maximum(p[np.arange(len(label)), label], 1e-12)).mean())


def rows(faces: Labelled, floats: Floats, integers: Floats, calibration: Calibration, runtime: str) -> Iterable[Metric]:
    """Yield the card's metrics of one split from the logits (n, 8) of both models."""
    plain = Calibration()
    for kind, logits, calibrated in (("float", floats, plain), ("int8", integers, calibration)):
        p = probabilities(logits, calibrated)
        scores = metrics.measure(p, faces.label)
        common = {"model": kind, "runtime": runtime, "split": faces.name, "n": scores.n}
        yield Metric(name="accuracy", value=scores.accuracy.value, ci95=_ci(scores.accuracy), **common)
        yield Metric(name="macro_f1", value=scores.macro_f1.value, ci95=_ci(scores.macro_f1), **common)
        if kind == "int8":
            before = metrics.measure(probabilities(logits, plain), faces.label, resamples=2)
            yield Metric(name="ece_uncalibrated", value=before.ece.value, **common)
        yield Metric(name="ece" if kind == "int8" else "ece_uncalibrated", value=scores.ece.value, **common)
        yield Metric(name="nll", value=nll(p, faces.label), **common)
    p, q = metrics.softmax(floats), metrics.softmax(integers)
    common = {"model": "int8 against float", "runtime": runtime, "split": faces.name, "n": len(faces.label)}
    yield Metric(name="agreement", value=metrics.agreement(p, q), **common)
    yield Metric(name="mean_probability_error", value=float(np.abs(p - q).mean()), **common)


def _ci(interval: metrics.Interval) -> tuple[float, float] | None:
    return (interval.low, interval.high) if np.isfinite([interval.low, interval.high]).all() else None
