"""Part "device": how many threads, which tiles and what batch this machine can do on this camera's own pictures.

Every candidate is warmed up and timed on pictures held in memory; the best that keeps up is soaked, with an eye on the
heat, before it is chosen. Times are this machine's at this moment: stop the service first.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from agent import config
from agent.calibration import parts
from agent.calibration.camera import GOOD_PX
from agent.device import thermal
from agent.errors import CheckFailed
from agent.records import Face, Frame
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle
from agent.vision.turns import LONGEST_WAIT_S

LEAST_LOOKS_HZ: Final = 0.5
"""Each face must be classified this often, per second (see ENGAGEMENT.md)."""
MOST_OF_PERIOD: Final = 0.8
"""Largest share of the time between two frames that the 95th percentile of a frame may take."""
TOO_HOT: Final = thermal.STEPS[-1][0]
"""°C at which the agent would lower its rate."""

Tick = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is tried, and for how long."""

    threads: tuple[int, ...] = tuple(sorted({1, 2, os.cpu_count() or 1} & set(range(1, (os.cpu_count() or 1) + 1))))
    smallest_px: tuple[int, ...] = (24, 36, 48)
    """Smallest face to find, pixels: sets the tiles."""
    batches: tuple[int, ...] = (8, 16, 32)
    """Faces classified a frame."""
    warm: int = 10
    """Frames a candidate before its time counts."""
    timed: int = 50
    """Frames a candidate whose time counts."""
    soak_s: float = 20.0
    """Seconds that the chosen one must keep up without throttling."""
    clock: Callable[[], float] = time.perf_counter
    """Seconds."""

    @property
    def steps(self) -> int:
        """Return how often `tick` is called during the search."""
        return len(self.threads) * (len(self.smallest_px) + len(self.batches))


@dataclass(frozen=True)
class Trial:
    """One candidate as measured."""

    threads: int
    smallest_face_px: int
    faces_per_frame: int
    p95_ms: float
    """95th percentile of detection plus that of classifying a `load` of faces, milliseconds."""
    good_faces: float
    """Faces of at least 48 pixels a frame."""
    faces: float
    """Faces a frame."""

    def looks_hz(self, fps: float) -> float:
        """Return how often each face is classified at `fps` frames a second."""
        return fps * min(1.0, self.faces_per_frame / max(1.0, self.faces))


def measure(
    frames: Sequence[Frame], settings: config.Settings, bundle: Bundle, plan: Plan, tick: Tick = lambda _: None
) -> parts.Device:
    """Return the part: the best candidate that keeps up at `camera.fps`, after its soak.

    Raises
    ------
    CheckFailed
        no picture or face, or nothing keeps up; one line with the best that was found
    """
    fps = settings.camera.fps
    if not frames:
        raise CheckFailed("device: expected pictures to time, got none")
    if fps < LEAST_LOOKS_HZ:
        raise CheckFailed(f"device: expected camera.fps of at least {LEAST_LOOKS_HZ:g}, got {fps:g}; raise it")
    trials = list(search(frames, settings, bundle, plan, tick))
    for trial in ranked(trials, fps):
        tick("soak")
        p95, hot = _soak(trial, frames, settings, bundle, plan)
        if hot is None and p95 <= MOST_OF_PERIOD * 1000 / fps:
            return parts.Device(
                threads=trial.threads,
                smallest_face_px=trial.smallest_face_px,
                faces_per_frame=trial.faces_per_frame,
                p95_ms=max(p95, trial.p95_ms),
                period_ms=1000 / fps,
                faces=trial.good_faces,
                looks_hz=trial.looks_hz(fps),
            )
        if hot is not None:
            raise CheckFailed(f"device: expected a soak without throttling, got {hot}; cool the device and try again")
    best = min(trials, key=lambda trial: trial.p95_ms)
    raise CheckFailed(
        f"device: expected a frame within {MOST_OF_PERIOD:.0%} of {1000 / fps:.0f} ms and every face looked at each "
        f"{1 / LEAST_LOOKS_HZ:g} s, the fastest takes {best.p95_ms:.0f} ms at {best.looks_hz(fps):.2g} looks/s; lower "
        "camera.fps"
    )


def search(
    frames: Sequence[Frame], settings: config.Settings, bundle: Bundle, plan: Plan, tick: Tick
) -> Iterator[Trial]:
    """Yield every candidate as measured; detection and classification are timed apart, since their times add up."""
    for threads in plan.threads:
        detection = {}
        for smallest in plan.smallest_px:
            tick(f"{threads} threads, faces from {smallest} px")
            detection[smallest] = _detecting(frames, threads, smallest, settings, plan)
        faces = [face for _, looks in detection.values() for look in looks for face in look]
        if not faces:
            raise CheckFailed("device: expected faces in view, got none: times without them would mean nothing")
        taken: dict[int, float] = {}  # load → p95
        for batch in plan.batches:
            tick(f"{threads} threads, {batch} faces a frame")
            for smallest, (p95, looks) in detection.items():
                most = max(sum(face.rejected is None for face in look) for look in looks)
                size = load(batch, most, settings.camera.fps)
                if size not in taken:
                    taken[size] = _classifying(faces, threads, size, settings, bundle, plan)
                widths = [face.box.width for look in looks for face in look]
                good = sum(width >= GOOD_PX for width in widths) / len(looks)
                yield Trial(threads, smallest, batch, p95 + taken[size], good, len(widths) / len(looks))


def load(batch: int, faces: int, fps: float) -> int:
    """Return the most of `faces` that `Turns` classifies in one frame under a budget of `batch`.

    All that it put off in the frames before come due together. Up to one frame a second nobody can wait at all: a
    camera that is late by a millisecond has the next but one beyond `LONGEST_WAIT_S`.
    """
    frames = max(1, math.ceil(LONGEST_WAIT_S * fps) - 1)
    return max(batch, faces - batch * (frames - 1))


def ranked(trials: Sequence[Trial], fps: float) -> list[Trial]:
    """Return the candidates that keep up at `fps`, the best first: most faces of 48 px, most faces, looks, time."""
    enough = [
        trial
        for trial in trials
        if trial.p95_ms <= MOST_OF_PERIOD * 1000 / fps and trial.looks_hz(fps) >= LEAST_LOOKS_HZ
    ]
    return sorted(enough, key=lambda t: (-t.good_faces, -t.faces, -t.looks_hz(fps), -t.faces_per_frame, t.p95_ms))


def played(frames: Sequence[Frame], fps: float) -> Iterator[Frame]:
    """Yield `frames` over and over, as far apart as at `fps`: whose turn it is depends on the time between them."""
    for number in itertools.count():
        yield Frame(frames[number % len(frames)].image, number / fps)


def _detecting(
    frames: Sequence[Frame], threads: int, smallest: int, settings: config.Settings, plan: Plan
) -> tuple[float, list[list[Face]]]:
    """Return (95th percentile of finding the faces of a frame, milliseconds; the faces of each timed frame)."""
    detect = settings.detect.model_copy(update={"smallest_face_px": smallest})
    with Detector(detect, threads=threads, runtime=settings.classify.runtime) as detector:
        return _timed(lambda i: detector(frames[i % len(frames)]), plan)


def _classifying(
    faces: Sequence[Face], threads: int, batch: int, settings: config.Settings, bundle: Bundle, plan: Plan
) -> float:
    """Return the 95th percentile of classifying `batch` faces, milliseconds."""
    given = [Face(faces[i % len(faces)].box, faces[i % len(faces)].crop) for i in range(batch)]
    runtime = settings.classify.runtime
    with Classifier(bundle, threads=threads, runtime=runtime, faces_per_frame=batch) as classifier:
        return _timed(lambda i: classifier(Frame(_NOTHING, float(i)), given), plan)[0]


def _soak(
    trial: Trial, frames: Sequence[Frame], settings: config.Settings, bundle: Bundle, plan: Plan
) -> tuple[float, str | None]:
    """Return (95th percentile of a frame, milliseconds; what throttles, or None) of `plan.soak_s` at full load."""
    detect = settings.detect.model_copy(update={"smallest_face_px": trial.smallest_face_px})
    runtime = settings.classify.runtime
    took: list[float] = []
    with (
        Detector(detect, threads=trial.threads, runtime=runtime) as detector,
        Classifier(bundle, threads=trial.threads, runtime=runtime, faces_per_frame=trial.faces_per_frame) as classifier,
    ):
        end = plan.clock() + plan.soak_s
        for frame in played(frames, settings.camera.fps):
            start = plan.clock()
            classifier(frame, detector(frame))
            took.append(1000 * (plan.clock() - start))
            if plan.clock() >= end:
                break
    heat = thermal.read()
    hot = None
    if heat.temperature_c is not None and heat.temperature_c >= TOO_HOT:
        hot = f"{heat.temperature_c:.0f} °C"
    if heat.under_voltage:
        hot = "a supply that is too weak"
    # The first frame pays for memory being laid out.
    return float(np.percentile(took[1:] or took, 95)), hot


def _timed(once: Callable[[int], T], plan: Plan) -> tuple[float, list[T]]:
    """Return (95th percentile, milliseconds; the results) of `plan.timed` calls after `plan.warm` others."""
    took, results = [], []
    for number in range(plan.warm + plan.timed):
        start = plan.clock()
        result = once(number)
        if number >= plan.warm:
            took.append(1000 * (plan.clock() - start))
            results.append(result)
    return float(np.percentile(took, 95)), results


_NOTHING: Final = np.zeros((1, 1, 3), np.uint8)
