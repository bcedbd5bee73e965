"""What `quantize.verify` found: the values, and how a terminal or a program reads them."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from agent.calibration.labelled import WORST_ECE
from quantize import layers
from training import metrics


@dataclass(frozen=True)
class InRuntime:
    """The integer network in one runtime's default kernels, against the float network without calibration."""

    runtime: str
    """Name and version."""
    accuracy: metrics.Interval
    """0-1."""
    drop: metrics.Interval
    """Float accuracy minus integer accuracy on the same faces, points."""
    agreement: float
    """Share of faces with the same top class as float, 0-1."""
    mean_probability_error: float
    worst_probability_error: float
    """Largest of all classes and faces; near 1 on a borderline face, so nothing is judged by it."""


@dataclass(frozen=True)
class Limits:
    """What fails the check."""

    drop: float = 0.3
    """Largest loss of accuracy against float, points (hundredths), in each runtime's default kernels: of the estimate,
    whose interval is wider than that on 3,191 faces."""
    agreement: float = 0.97
    """Smallest share of faces with the same top class as float, before calibration, which may well move it."""
    mean_error: float = 0.005
    """Largest mean |difference| of a probability from float's, before calibration: half as much again as the released
    bundles have (0.0021-0.0032). It sees what no top class shows, as a scale of the logits that is a fifth off."""
    ece: float = WORST_ECE
    """Largest calibration error against the votes, calibrated, 0-1."""
    ece_worse: float = 0.01
    """By how much the calibration may raise that error: a fitted one lowers it, faces it never saw add noise."""


@dataclass(frozen=True)
class Report:
    """All that `verify` measured."""

    float_model: str
    model: str
    edition: str
    split: str
    n: int
    """Faces."""
    float_accuracy: metrics.Interval
    float_calibrated: metrics.Interval | None
    """The float network with the bundle's calibration: what that does without the integers; None for a bare .tflite."""
    runtimes: tuple[InRuntime, ...]
    """Before calibration: what the integers cost."""
    calibrated: tuple[InRuntime, ...]
    """The same with a bundle's calibration, as the device computes it; empty for a bare .tflite."""
    reference_faces: int
    """Faces run through both runtimes' reference kernels."""
    reference_equal: bool | None
    """Whether those were bit-equal; None where only one runtime is there."""
    limits: Limits
    fitted_here: bool
    """Whether the calibration was fitted to these faces: then its error says little; `quantize.honest` says more."""
    ece: dict[str, float]
    """Calibration error 0-1 against the votes of every face whose top vote is an emotion: float, int8 before and
    after calibration (bundles)."""
    layers: tuple[layers.Layer, ...]
    """Empty where they do not compare, see `skipped`."""
    failures: tuple[str, ...]
    skipped: tuple[str, ...]
    """What could not be checked here, and why."""


def as_text(report: Report) -> str:
    """Return the report for a terminal."""
    lines = [
        f"{report.model} against {report.float_model}",
        f"{report.split} split, {report.edition}, majority protocol, n = {report.n}",
        f"{'':34} accuracy [95 %]              drop, points [95 %]     agreement  mean |dp|  worst |dp|",
        f"{'float':34} {_percent(report.float_accuracy)}",
    ]
    lines += [_row(one.runtime, one) for one in report.runtimes]
    if report.float_calibrated is not None:
        lines.append(f"{'float, calibrated':34} {_percent(report.float_calibrated)}")
    lines += [_row(f"{one.runtime}, calibrated", one) for one in report.calibrated]
    answer = {True: "bit-equal", False: "DIFFERENT", None: "not compared"}[report.reference_equal]
    lines.append(f"reference kernels of both runtimes, {report.reference_faces} faces: {answer}")
    errors = ", ".join(f"{name} {value:.4f}" for name, value in report.ece.items())
    lines.append(
        f"calibration error against votes: {errors}"
        + (
            " (fitted on these faces; quantize.honest judges folds that it was not fitted to)"
            if report.fitted_here
            else ""
        )
    )
    bars = report.limits
    lines.append(
        f"bars: drop {bars.drop:g} points, of the estimate, not of its interval; agreement {bars.agreement:.0%}, "
        f"mean |dp| {bars.mean_error:g}, both before calibration; calibration error {bars.ece:g}"
    )
    if report.layers:
        lines.append(f"{'layer':4} {'op':16} {'name':48} {'weights':>8} {'own':>8} {'total':>8}   dB")
        hurts = layers.worst(list(report.layers))
    for row in report.layers:
        weights = "" if row.weights_db is None else f"{row.weights_db:.1f}"
        mark = "   <- hurts most by itself" if row is hurts else ""
        lines.append(
            f"{row.index:5} {row.op:16} {row.name:48} {weights:>8} {row.own_db:8.1f} {row.total_db:8.1f}{mark}"
        )
    return "\n".join([*lines, *(f"skipped: {why}" for why in report.skipped)])


def _row(name: str, one: InRuntime) -> str:
    drop = f"{one.drop.value:5.2f} [{one.drop.low:5.2f}, {one.drop.high:5.2f}]"
    return (
        f"{name:34} {_percent(one.accuracy)}     {drop}     {one.agreement:8.2%}     "
        f"{one.mean_probability_error:.4f}      {one.worst_probability_error:.3f}"
    )


def _percent(interval: metrics.Interval) -> str:
    return f"{interval.value:7.2%} [{interval.low:7.2%}, {interval.high:7.2%}]"


def as_json(report: Report) -> str:
    """Return the report as JSON; a ratio without noise is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(asdict(report)), indent=1, allow_nan=False)
