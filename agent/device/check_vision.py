"""Checks of what sees: the camera, its permissions, the model against its golden vectors, the Edge TPU."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.config import Settings
from agent.config_words import without_login
from agent.device import edgetpu
from agent.device.checks import Check, Finding, fail, good, warn
from agent.vision.capture import is_live, open_source
from agent.vision.classify import Classifier
from agent.vision.model_card import Bundle, find
from agent.vision.picture import exposure
from agent.vision.runtime import available, choose

_TRIALS = 5


def checks(settings: Settings) -> dict[str, Check]:
    """Return the checks of camera and model."""
    return {
        "model": lambda: model(settings),
        "edgetpu": lambda: accelerator(settings),
        "camera": lambda: camera(settings),
    }


def model(settings: Settings) -> Iterator[Finding]:
    """Load the bundle (hashes), run it for real and compare with its golden outputs."""
    yield good("runtime", ", ".join(r.name for r in available()) or "none")
    bundle = Bundle.load(find(settings.classify.model))
    classifier = Classifier(
        bundle, threads=settings.classify.threads, runtime=settings.classify.runtime, faces_per_frame=1
    )
    with classifier:  # compares with the golden outputs, or raises
        face: npt.NDArray[Any] = bundle.golden.faces[:1]
        began = time.perf_counter()
        for _ in range(_TRIALS):
            classifier.logits(face)
        cost_ms = (time.perf_counter() - began) / _TRIALS * 1000
    yield good("model", f"{bundle.card.id}: golden outputs agree on {classifier.backend}, {cost_ms:.1f} ms a face")


def accelerator(settings: Settings) -> Iterator[Finding]:
    """The Edge TPU: there, allowed, and alive in a trial."""
    kind = edgetpu.present()
    if settings.classify.edgetpu == "off" or kind is None:
        yield good("edgetpu", "switched off" if settings.classify.edgetpu == "off" else "none here; the CPU is used")
        return
    bundle = Bundle.load(find(settings.classify.model))
    if bundle.edgetpu is None:
        yield warn("edgetpu", f"{kind} device, but {bundle.card.id} has no compiled model", "install a bundle with one")
        return
    why = edgetpu.trial(choose(settings.classify.runtime).name, bundle.edgetpu)
    if why is None:
        yield good("edgetpu", f"{kind} device works")
    else:
        yield warn(
            "edgetpu", f"{kind} device: {why}; the CPU is used", "install libedgetpu; replug it into a USB 3 port"
        )


def camera(settings: Settings) -> Iterator[Finding]:
    """Open the camera, take a picture, judge it."""
    source = settings.camera.source
    watching = is_live(source)
    if not watching and not Path(source).exists():
        yield fail("camera", f"camera.source = {source!r}: no such file", "set camera.source in agent.toml")
        return
    with open_source(source, fps=4, camera=settings.camera) as frames:
        frame = next(iter(frames))
    height, width = frame.image.shape[:2]
    where = without_login(source)
    reason = exposure(np.ascontiguousarray(frame.image)) if frame.image.size else frame.trouble
    if reason:
        yield fail("camera", f"{where}: {width}x{height}, {reason}", "look at the lens, the light and the cover")
    elif watching and (width, height) != (settings.camera.width, settings.camera.height):
        asked = f"{settings.camera.width}x{settings.camera.height}"
        yield warn(
            "camera", f"{where}: gives {width}x{height}, asked for {asked}", "set camera.width and camera.height"
        )
    else:
        yield good("camera", f"{where}: {width}x{height}")
