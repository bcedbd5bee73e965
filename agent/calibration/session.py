"""One calibration session: the wanted parts in their order, each on the pictures that it needs. Keeps no picture.

camera → probabilities → baseline → device: the baseline is measured with the limits and probabilities found before it.
A part that fails ends the session, so that nothing half-good is ever written.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from agent import config
from agent.calibration import camera, device, labelled, parts
from agent.calibration.baseline import BaselineMeter
from agent.calibration.record import Calibration
from agent.errors import CheckFailed
from agent.insight.weights import WeightTable
from agent.records import Frame
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle
from agent.vision.quality import Limits
from agent.vision.seats import Seats

PARTS: Final = ("camera", "probabilities", "baseline", "device")
"""In the order in which they are measured."""
_TIMED_FRAMES: Final = 10
"""Pictures held in memory while the device part times its candidates."""

Open = Callable[[], AbstractContextManager[Iterable[Frame]]]
"""Opens the camera or video from its start."""
Progress = Callable[[str, float, str], None]
"""Told (part, share done 0-1, what is going on)."""


@dataclass(frozen=True)
class Wanted:
    """What to measure, and how."""

    parts: tuple[str, ...] = PARTS
    k_min: int = 5
    """Fewest people of the baseline."""
    fov: float | None = None
    """The camera's horizontal field of view, degrees; None if it is not known."""
    labelled: Path | None = None
    """Folder of labelled crops; None takes the model's own scaling."""
    prior: bool = False
    """Correct the prior, if its test allows."""
    camera_s: float = 30.0
    """Longest look at the room for the camera part, seconds."""
    baseline_s: float = 60.0
    """Longest baseline session, seconds."""
    plan: device.Plan = field(default_factory=device.Plan)


@dataclass(frozen=True)
class Measured:
    """What a session found, and what its report shows beside it."""

    parts: parts.Parts
    room: camera.CameraMeter | None = None
    """Sizes and grey levels of faces, where the camera part was measured."""
    diagrams: labelled.Found | None = None
    """Where the probabilities part was measured."""


def measure(
    opened: Open,
    settings: config.Settings,
    bundle: Bundle,
    weights: WeightTable,
    wanted: Wanted,
    *,
    kept: parts.Parts | None = None,
    progress: Progress = lambda *_: None,
) -> Measured:
    """Return the wanted parts as measured, with the `kept` ones for the rest.

    Raises
    ------
    CheckFailed
        a part is not good enough; one line
    InputError, UnavailableError
        there is no such video, crops or camera
    """
    found = kept or parts.Parts()
    room, diagrams = None, None
    if "camera" in wanted.parts:
        room = _look(opened, settings, wanted.camera_s, progress)
        found = found.model_copy(update={"camera": room.result(wanted.fov)})
    if "probabilities" in wanted.parts:
        diagrams = _probabilities(settings, bundle, wanted, progress)
        found = found.model_copy(update={"probabilities": diagrams.part})
    bundle = found.applied_to(bundle)
    if "baseline" in wanted.parts:
        rest = _rest(opened, settings, bundle, weights, wanted, found, progress)
        found = found.model_copy(update={"baseline": rest})
    if "device" in wanted.parts:
        found = found.model_copy(update={"device": _machine(opened, settings, bundle, wanted, progress)})
    return Measured(found, room, diagrams)


def kept_of(before: Calibration | None, wanted: Wanted) -> tuple[parts.Parts, tuple[str, ...]]:
    """Return the parts of the calibration before that stay, and a line for each that must go."""
    if before is None:
        return parts.Parts(), ()
    if before.expired and set(wanted.parts) != set(PARTS):
        return parts.Parts(), ("the calibration before has expired: its other parts are not taken over",)
    old = before.record.parts
    stay = {name: getattr(old, name) for name in PARTS if name not in wanted.parts}
    lines = []
    if stay.get("baseline") is not None and "probabilities" in wanted.parts:
        stay["baseline"] = None
        lines.append("the baseline before was measured with other probabilities and goes; add --part baseline")
    return parts.Parts(**stay), tuple(lines)


def _look(opened: Open, settings: config.Settings, seconds: float, progress: Progress) -> camera.CameraMeter:
    meter = camera.CameraMeter()
    with _detector(settings, None) as detector, opened() as frames:
        for frame in _usable(frames, "camera", seconds, progress):
            meter.add(frame, detector(frame))
    return meter


def _probabilities(settings: config.Settings, bundle: Bundle, wanted: Wanted, progress: Progress) -> labelled.Found:
    if wanted.labelled is None:
        own = labelled.shipped(bundle)
        progress(
            "probabilities", 1.0, "the model's own" + (", judged on the faces of its fit" if own.in_sample else "")
        )
        return own
    progress("probabilities", 0.0, "reading crops")
    inputs, targets = labelled.read(wanted.labelled, bundle.card.side)
    with _classifier(settings, bundle) as classifier:
        integers = np.concatenate([classifier.logits(inputs[i : i + 64]) for i in range(0, len(inputs), 64)])
    logits = (integers.astype(np.float64) - bundle.card.output.zero_point) * bundle.card.output.scale
    found = labelled.fitted(logits, targets, bundle.card.calibration)
    progress("probabilities", 1.0, f"{len(inputs)} crops")
    return found


def _rest(
    opened: Open,
    settings: config.Settings,
    bundle: Bundle,
    weights: WeightTable,
    wanted: Wanted,
    found: parts.Parts,
    progress: Progress,
) -> parts.Baseline:
    meter = BaselineMeter(Seats(), settings.camera.fps)
    with _detector(settings, found.limits) as detector, _classifier(settings, bundle) as classifier, opened() as frames:
        for frame in _usable(frames, "baseline", wanted.baseline_s, progress):
            meter.add(frame.at, classifier(frame, detector(frame)))
    return meter.result(
        weights,
        k_min=wanted.k_min,
        room_seats=settings.engagement.room_seats,
        reference=bundle.card.calibration.reference if wanted.prior else None,
    )


def _machine(
    opened: Open, settings: config.Settings, bundle: Bundle, wanted: Wanted, progress: Progress
) -> parts.Device:
    with opened() as source:
        frames: list[Frame] = []
        for frame in _usable(source, "device", wanted.camera_s, lambda *_: None):
            frames.append(frame)
            if len(frames) == _TIMED_FRAMES:
                break
    done = 0

    def tick(what: str) -> None:
        nonlocal done
        progress("device", done / (wanted.plan.steps + 1), what)
        done += 1

    part = device.measure(frames, settings, bundle, wanted.plan, tick)
    progress("device", 1.0, f"p95 {part.p95_ms:.0f} ms")
    return part


def _usable(frames: Iterable[Frame], part: str, seconds: float, progress: Progress) -> Iterator[Frame]:
    """Yield the good frames of the first `seconds`; raise CheckFailed if there was not one, with the reason."""
    first: float | None = None
    good, trouble = 0, ""
    for frame in frames:
        first = frame.at if first is None else first
        if frame.at - first >= seconds:
            break
        progress(part, (frame.at - first) / seconds, f"{good} pictures")
        if frame.trouble is not None:
            trouble = frame.trouble
            continue
        good += 1
        yield frame
    if not good:
        raise CheckFailed(f"{part}: expected pictures, got none that is usable ({trouble or 'no frame at all'})")
    progress(part, 1.0, f"{good} pictures")


def _detector(settings: config.Settings, limits: Limits | None) -> Detector:
    wanted = settings.classify
    return Detector(settings.detect, threads=wanted.threads, runtime=wanted.runtime, limits=limits)


def _classifier(settings: config.Settings, bundle: Bundle) -> Classifier:
    wanted = settings.classify
    return Classifier(bundle, threads=wanted.threads, runtime=wanted.runtime, faces_per_frame=wanted.faces_per_frame)
