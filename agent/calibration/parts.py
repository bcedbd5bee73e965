"""The shape of calibration.json: its four parts, each of them numbers only. `record` reads and writes it."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.emotions import LABELS
from agent.vision.card import Calibration as Scaling
from agent.vision.model_card import Bundle
from agent.vision.quality import Limits

Points = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

LARGEST_RATIO = 5.0
"""Bound of the prior correction's factors: [1/5, 5]."""


class Part(BaseModel):
    """Base of the record and its parts: unknown keys, NaN and infinity are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Camera(Part):
    """What the camera sees of faces."""

    width: int = Field(ge=1)
    """Of the frames, pixels."""
    height: int = Field(ge=1)
    """Of the frames, pixels."""
    faces: int = Field(ge=1)
    """Crops that were measured."""
    luma: float = Field(ge=0, le=255)
    """Mean grey level of faces."""
    clipped: Share
    """Share of the faces' pixels that are black (0-2) or burnt out (253-255)."""
    face_px: tuple[float, float, float]
    """10th, 50th and 90th percentile of the faces' widths, pixels."""
    focal_px: float = Field(gt=0)
    """Focal length, pixels."""
    fov_stated: bool
    """The focal length comes from a stated field of view; else from an assumed one."""
    least_sharpness: float = Field(ge=0, le=100)
    """Blur threshold, see `agent.vision.quality.sharpness`."""


class Probabilities(Part):
    """How logits become probabilities."""

    origin: Literal["model", "crops"]
    """Shipped with the model, or fitted to this room's labelled crops."""
    scaling: Scaling
    """Temperature and biases."""
    ece: Share
    """Calibration error of the top class: on faces that it was not fitted to, but for a bundle that nobody tested."""
    n: int = Field(ge=1)
    """Those faces."""


class Baseline(Part):
    """The room at rest."""

    index: Points
    """Resting index."""
    ci95: tuple[Points, Points]
    """Its 95 % interval."""
    people: int = Field(ge=2)
    """Seats behind it."""
    seconds: float = Field(gt=0)
    """Length of the session."""
    weights_id: str = Field(min_length=1, max_length=60)
    """Weight table in whose points it is, `WeightTable.fingerprint`; agents up to 0.1.0 wrote the id alone."""
    prior_ratio: tuple[Annotated[float, Field(ge=1 / LARGEST_RATIO, le=LARGEST_RATIO)], ...] | None = None
    """Eight factors, room's share ÷ training's; None where the correction is off."""
    prior_fit: float | None = Field(default=None, ge=0)
    """χ²/df of the fit test, where the correction was asked for."""

    @model_validator(mode="after")
    def _eight(self) -> Self:
        if self.prior_ratio is not None and len(self.prior_ratio) != len(LABELS):
            raise ValueError(f"prior_ratio: expected {len(LABELS)} factors, got {len(self.prior_ratio)}")
        return self


class Device(Part):
    """What this machine can do on this camera."""

    threads: int = Field(ge=1, le=64)
    smallest_face_px: int = Field(ge=16, le=300)
    """Sets the tiles."""
    faces_per_frame: int = Field(ge=1, le=1000)
    """Most faces classified a frame."""
    p95_ms: float = Field(gt=0)
    """95th percentile of a frame's time, milliseconds, after warming up and in the soak."""
    period_ms: float = Field(gt=0)
    """Time between two frames, milliseconds."""
    faces: float = Field(ge=0)
    """Faces of at least 48 pixels a frame."""
    looks_hz: float = Field(ge=0)
    """How often each face is classified, per second."""


class Parts(Part):
    """Those parts that were made; the others are None."""

    camera: Camera | None = None
    probabilities: Probabilities | None = None
    baseline: Baseline | None = None
    device: Device | None = None

    @property
    def limits(self) -> Limits | None:
        """Return the quality gate's limits with this room's blur threshold, or None."""
        return Limits(least_sharpness=self.camera.least_sharpness) if self.camera else None

    def applied_to(self, bundle: Bundle) -> Bundle:
        """Return `bundle` with temperature and biases fitted in this room, or as it is."""
        if self.probabilities is None or self.probabilities.origin == "model":
            return bundle
        return replace(bundle, card=bundle.card.model_copy(update={"calibration": self.probabilities.scaling}))


class Record(Part):
    """calibration.json."""

    id: str = Field(pattern=r"^cal-\d{8}-[0-9a-f]{8}$")
    """Day, and a hash of everything below."""
    format: Literal["fer-calibration/1"]
    agent: str = Field(max_length=40)
    """Version that made it."""
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of model.tflite."""
    camera: Hash
    """`record.camera_hash`"""
    setup: Hash
    """`record.setup_hash`"""
    made_at: int = Field(ge=0, le=253_402_300_799)
    """Seconds since 1970, UTC."""
    expires_at: int = Field(ge=0, le=253_402_300_799)
    """Seconds since 1970, UTC."""
    parts: Parts
