"""The stages of one run, made from the configuration: what `run`, `replay` and `demo` have in common."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from agent import config
from agent.calibration.record import Calibration
from agent.delivery.payload import Provenance, config_hash
from agent.device import edgetpu
from agent.insight import weights
from agent.insight.privacy import least_people, window_seconds
from agent.insight.window import WindowAggregator
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle
from agent.vision.runtime import choose
from agent.vision.seats import Seats


@dataclass(frozen=True)
class Stages:
    """Everything between a frame and a window, opened."""

    detect: Detector
    classify: Classifier
    window: WindowAggregator
    made_by: Provenance
    """What every payload says of where its numbers come from."""

    def made_now(self, before: Provenance) -> Provenance:
        """Return `before` with the backend as it is now: an Edge TPU may have failed meanwhile."""
        return replace(before, backend=self.classify.backend)


@contextmanager
def opened(
    settings: config.Settings,
    bundle: Bundle,
    calibration: Calibration | None = None,
    *,
    configured: config.Settings | None = None,
) -> Iterator[Stages]:
    """Open the stages that `settings` describe, with the model `bundle`, and close them at the end.

    `calibration` gives the quality gate's limits, the room's baseline and its prior; its other parts must be in
    `settings` and `bundle` already (`tuned`, `applied_to`). `configured` are the settings before that: their hash is
    told, the one that the audit log has.

    Raises
    ------
    ConfigError
        a weight table, runtime or window length that cannot be used
    ModelError
        the model does not give its golden outputs in this machine's runtime
    """
    wanted, runtime = settings.classify, choose(settings.classify.runtime)
    table, window_s = weights.load(settings.engagement.weights), window_seconds(settings)
    limits, baseline, ratio, name = None, None, None, None
    if calibration is not None:
        limits, name = calibration.record.parts.limits, calibration.id
        baseline, ratio = calibration.baseline, calibration.prior_ratio
    delegation = edgetpu.delegation(runtime, bundle.model, bundle.edgetpu, wanted=wanted.edgetpu == "auto")
    with ExitStack() as stack:
        detect = stack.enter_context(
            Detector(settings.detect, threads=wanted.threads, runtime=runtime.name, limits=limits)
        )
        classify = stack.enter_context(
            Classifier(
                bundle,
                threads=wanted.threads,
                runtime=runtime.name,
                faces_per_frame=wanted.faces_per_frame,
                delegation=delegation,
            )
        )
        window = WindowAggregator(
            Seats(),
            table,
            window_s=window_s,
            fps=settings.camera.fps,
            room_seats=settings.engagement.room_seats,
            baseline=baseline,
            prior_ratio=ratio,
        )
        made_by = Provenance(
            model_id=bundle.card.id,
            model_sha256=bundle.card.sha256,
            backend=classify.backend,
            calibration_id=name,
            window_s=window_s,
            privacy_profile=settings.privacy.profile,
            k_min=least_people(settings.privacy),
            weights_id=table.id,
            config_hash=config_hash(configured or settings),
        )
        yield Stages(detect, classify, window, made_by)
