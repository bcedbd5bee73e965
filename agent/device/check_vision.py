"""Checks of what sees: the camera, its permissions, the model against its golden vectors, the detector, the Edge TPU.

Law: a camera that the service may not open now is not opened here either, and the light is on while it is open.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.config import Settings
from agent.config.words import without_login
from agent.device import edgetpu
from agent.device.checks import Check, Finding, fail, good, warn
from agent.errors import PolicyError
from agent.insight.policy import check_policy, is_live
from agent.trust.gpio import Light, Switch
from agent.trust.guard import models_of
from agent.trust.pause import Pause
from agent.trust.sensing import Sensing
from agent.vision.capture import open_source
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.picture import exposure
from agent.vision.runtime import available, choose
from agent.vision.weights import SHORT_RANGE

_TRIALS = 5
_CLOSED: Final = {
    "paused": ("not opened: sensing is paused", "end the pause (file, switch or cmd/resume), then run doctor again"),
    "schedule": ("not opened: closed hours", "run doctor again inside the hours of [[schedule]]"),
}
"""Reason for which a camera must be shut → what is found, and what to do."""


def checks(settings: Settings) -> dict[str, Check]:
    """Return the checks of camera and model."""
    return {
        "model": lambda: model(settings),
        "detector": lambda: detector(settings),
        "edgetpu": lambda: accelerator(settings),
        "camera": lambda: camera(settings),
    }


def model(settings: Settings) -> Iterator[Finding]:
    """Load the bundle that the service would run (hashes), run it for real and compare with its golden outputs."""
    yield good("runtime", ", ".join(r.name for r in available()) or "none")
    bundle = models_of(settings).preview()
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


def detector(settings: Settings) -> Iterator[Finding]:
    """Load the face detector's network, a file of another package."""
    with Detector(settings.detect, threads=settings.classify.threads, runtime=settings.classify.runtime):
        yield good("detector", f"{Path(SHORT_RANGE.file).name} is the measured one")


def accelerator(settings: Settings) -> Iterator[Finding]:
    """The Edge TPU: there, allowed, and alive in a trial."""
    kind = edgetpu.present()
    if settings.classify.edgetpu == "off" or kind is None:
        yield good("edgetpu", "switched off" if settings.classify.edgetpu == "off" else "none here; the CPU is used")
        return
    bundle = models_of(settings).preview()
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
    """Open the camera if the service might, take a picture, judge it."""
    source, privacy = settings.camera.source, settings.privacy
    if not is_live(source):
        if not Path(source).exists():
            yield fail("camera", f"camera.source = {source!r}: no such file", "set camera.source in agent.toml")
            return
        yield _looked(settings, lambda: None)
        return
    try:
        check_policy(settings, live=True)
    except PolicyError as error:
        yield fail("camera", f"not opened: {error}", "fill [policy]: deploy/privacy/README.md")
        return
    with Light(privacy.led_gpio) as light, Switch(privacy.pause_gpio) as switch:
        pause = Pause(privacy.pause_file, settings.agent.state_dir, switch.closed)
        sensing = Sensing(settings.schedule, pause, light=light)
        reason = sensing()
        if reason is None:
            yield _looked(settings, sensing)
        else:
            yield warn("camera", *_CLOSED[reason])


def _looked(settings: Settings, closed: Callable[[], str | None]) -> Finding:
    """Open the source, take a picture, judge it."""
    source, asked = settings.camera.source, (settings.camera.width, settings.camera.height)
    with open_source(source, fps=4, camera=settings.camera, closed=closed) as frames:
        frame = next(iter(frames))
    height, width = frame.image.shape[:2]
    where = without_login(source)
    reason = exposure(np.ascontiguousarray(frame.image)) if frame.image.size else frame.trouble
    if reason:
        return fail("camera", f"{where}: {width}x{height}, {reason}", "look at the lens, the light and the cover")
    if is_live(source) and "://" not in source and (width, height) != asked:  # a network camera is not asked
        found = f"{where}: gives {width}x{height}, asked for {asked[0]}x{asked[1]}"
        return warn("camera", found, "set camera.width and camera.height")
    return good("camera", f"{where}: {width}x{height}")
