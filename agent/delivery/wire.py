"""Every payload of the MQTT contract as a type. JSON Schemas and asyncapi.yaml are generated from these.

Law: nothing here can hold pixels, boxes, embeddings, or anything about one person.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from agent.config import Id

Text = Annotated[str, Field(max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]
Seq = Annotated[int, Field(ge=1)]
_PAIR: dict[str, Any] = {"type": "array", "minItems": 2, "maxItems": 2}
"""A pair in words that every draft of JSON Schema understands."""
Interval = Annotated[tuple[float, float], WithJsonSchema(_PAIR | {"items": {"type": "number"}})]
Range = Annotated[tuple[Seq, Seq], WithJsonSchema(_PAIR | {"items": {"type": "integer", "minimum": 1}})]


class Wire(BaseModel):
    """Base of all payloads: what this minor version sends, exactly. Consumers ignore keys they do not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, serialize_by_alias=True
    )

    def encode(self) -> bytes:
        """JSON in UTF-8. Only fields that were set: an absent field and a null are different things here."""
        return self.model_dump_json(exclude_unset=True).encode()


class Clock(Wire):
    """How far the wall-clock labels can be trusted."""

    synced: bool
    """The system clock was disciplined when the window closed."""
    source: Text
    """"ntp", "rtc", "none", "media" (a file was played), "simulated"."""


class Engagement(Wire):
    """The index with its uncertainty. A facial-expression proxy, not validated as a measure of learning."""

    value: float = Field(ge=0, le=100)
    """0-100 points."""
    ci95: Interval | None
    """95 % interval, points; null where it is not defined."""
    delta: float | None
    """Value minus the room's own baseline, points; null without a baseline, and in `strict`."""
    weights_id: Text
    """Which weight table made it."""


class Shares(Wire):
    """Mean share of each emotion over seats; they sum to 1."""

    neutral: Share
    happiness: Share
    surprise: Share
    sadness: Share
    anger: Share
    disgust: Share
    fear: Share
    contempt: Share


class Dp(Wire):
    """What differential privacy did to the result."""

    epsilon: float = Field(gt=0)
    """Privacy loss of this window."""
    mechanism: Text
    spent_today: float = Field(ge=0)
    """Privacy loss of this local day, this window included."""


class ModelRef(Wire):
    """The network that made the numbers, and what ran it."""

    id: Text
    sha256: Text
    backend: Text
    """"litert", "tflite-runtime", "edgetpu", …"""


_RESULTS = ("engagement", "valence", "arousal", "expressivity", "shares", "dp")


class Window(Wire):
    """One window. (agent, epoch, seq) is the idempotency key. A suppressed one carries no result at all."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"suppressed": {"type": "string"}}},
            "then": {"not": {"anyOf": [{"required": [name]} for name in _RESULTS]}},
            "else": {"required": ["engagement", "dp"], "properties": {"engagement": {"type": "object"}}},
        }
    )

    schema_: Literal["fer.window/1.0"] = Field(alias="schema")
    agent: Id
    site: Id
    room: Id
    epoch: Text
    """Changes only if the spool was lost."""
    seq: Seq
    """A persisted counter that never repeats or resets within an epoch."""
    boot_id: Text
    """One run of the agent's process."""
    start_ms: int
    """UTC, milliseconds: a label. Durations come from the monotonic clock."""
    end_ms: int
    """UTC, milliseconds."""
    mono_start_ns: int
    """Monotonic clock (media time when a file is played), nanoseconds."""
    clock: Clock
    seats: int = Field(ge=0)
    """People seen, not frames: places, so that somebody who changes places counts at each. Says
    nothing where sensing was off or the camera gave nothing to look at."""
    n_eff: float = Field(ge=0)
    """People behind the result: those with at least 5 accepted looks; 0 where they are fewer than k_min."""
    coverage: Share
    """Accepted looks of those that everybody in the room was due: everybody seen, or the people that the configuration
    says the room has if they are more (`engagement.room_seats`)."""
    frames: int = Field(ge=0)
    """Those without a usable picture included."""
    partial: bool
    """Cut short: the agent stopped, or the video ended or began anew."""
    suppressed: Text | None
    """Why there is no result ("k_min", "camera.frozen", "budget", "paused", …), or null."""
    model: ModelRef
    calibration_id: Text | None
    replay: bool
    """A late delivery: store it, do not move live gauges."""
    engagement: Engagement | None = None
    valence: float | None = Field(default=None, ge=-1, le=1)
    arousal: float | None = Field(default=None, ge=-1, le=1)
    expressivity: float | None = Field(default=None, ge=0, le=100)
    """Percent."""
    shares: Shares | None = None
    dp: Dp | None = None
    """Absent when suppressed; null when the profile adds no noise."""


State = Literal["init", "ready", "degraded", "paused", "disconnected", "lost"]


class Status(Wire):
    """Birth and will, retained."""

    schema_: Literal["fer.status/1.0"] = Field(alias="schema")
    agent: Id
    site: Id
    room: Id
    state: State
    reason: Text | None
    session: int
    """Number of this connection; the same in will and birth. It begins at the wall clock, in milliseconds, and rises
    within one run: ignore a `lost` whose session is older than that of the last birth you saw."""
    boot_id: Text
    started_ms: int
    """When this process started, UTC milliseconds: of two agents with one id of which neither found the other there,
    the one that started later gives way."""
    epoch: Text
    newest_seq: int = Field(ge=0)
    """Last sequence number used when this was made: shows a gap at the end. 0 if none yet."""


class MetaModel(Wire):
    """The network, in full."""

    id: Text
    sha256: Text
    backend: Text
    labels: tuple[Text, ...]
    """Class order."""


class Meta(Wire):
    """What is running, retained."""

    schema_: Literal["fer.meta/1.0"] = Field(alias="schema")
    agent: Id
    site: Id
    room: Id
    boot_id: Text
    version: Text
    """Version of the agent."""
    model: MetaModel
    window_s: float = Field(gt=0)
    privacy_profile: Text
    k_min: int = Field(ge=1)
    """Fewest people behind a result."""
    weights_id: Text
    calibration_id: Text | None
    config_hash: Text
    """SHA-256 of the settings that are in force, secrets left out; first 16 hex digits."""


class Event(Wire):
    """Something that happened once."""

    schema_: Literal["fer.event/1.0"] = Field(alias="schema")
    agent: Id
    site: Id
    room: Id
    boot_id: Text
    kind: Literal["gap", "camera", "thermal", "clock", "model", "delivery"]
    reason: Text
    at_ms: int
    """UTC, milliseconds."""
    epoch: Text | None = None
    """Gap: the epoch of the lost sequence numbers."""
    from_: Seq | None = Field(default=None, alias="from")
    """Gap: first lost sequence number."""
    to: Seq | None = None
    """Gap: last lost sequence number, included."""
    detail: Text | None = None
    """For people."""


class Stage(Wire):
    """Cost of one stage per frame, milliseconds."""

    p50: float
    p95: float


class Health(Wire):
    """How the machine does, not stored."""

    schema_: Literal["fer.health/1.0"] = Field(alias="schema")
    agent: Id
    site: Id
    room: Id
    at_ms: int
    fps: float | None = None
    """Frames looked at per second."""
    stages: dict[Text, Stage] | None = None
    spool_windows: int
    """Windows in the spool that no collector has acknowledged."""
    spool_bytes: int
    temperature_c: float | None = None
    rss_mb: float | None = None
    backend: Text | None = None


class Ack(Wire):
    """Collector → agent, retained: everything up to `upto_seq` is stored, or known to be lost."""

    epoch: Text
    upto_seq: int = Field(ge=0)
