"""Bytes on a topic → a checked value, or the reason why not. Whatever is not the contract's is refused whole.

Law: nothing past this file has to doubt a type, a range or a length. Unknown keys are ignored, since a minor
version only adds fields; text is plain text of bounded length, and is never interpreted.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.delivery.topics import NO_AGENTS
from agent.emotions import LABELS

ID: Final = re.compile(r"[a-z0-9-]{1,64}")
MAX_BYTES: Final = 16_384
"""Longest payload that is looked at; the contract's own limit is 4 KB."""
_OFF_BY: Final = 0.05
"""How far from 1 shares may sum that somebody rounded one by one; ours sum to 1."""
_MAX_TIME: Final = 4_102_444_800_000
"""2100-01-01 in milliseconds: later is no time of a window."""

Id = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
Epoch = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Millis = Annotated[int, Field(ge=0, lt=_MAX_TIME)]
Counter = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=0, le=100)]
Bound = Annotated[float, Field(ge=-1000, le=1000)]
"""End of an interval: it may leave the scale, but not the range in which sums of it are numbers."""
Signed = Annotated[float, Field(ge=-1, le=1)]


class _Payload(BaseModel):
    """Base of all: strict types, finite numbers, unknown keys ignored, values never change."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Clock(_Payload):
    """Whether wall time could be trusted."""

    synced: bool
    source: Text | None = None


class Model(_Payload):
    """What looked at the faces."""

    id: Text
    sha256: Text | None = None
    backend: Text | None = None


class Engagement(_Payload):
    """The index. A facial-expression proxy, not validated as a measure of learning."""

    value: Points
    ci95: tuple[Bound, Bound] | None = None
    delta: Annotated[float, Field(ge=-100, le=100)] | None = None
    weights_id: Text

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("ci95"), list):
            return {**data, "ci95": tuple(data["ci95"])}
        return data

    @model_validator(mode="after")
    def _ordered(self) -> "Engagement":
        if self.ci95 is not None and self.ci95[0] > self.ci95[1]:
            raise ValueError("expected the lower end first")
        return self


class Noise(_Payload):
    """What differential privacy did to the result."""

    epsilon: Annotated[float, Field(ge=0)]
    mechanism: Text
    spent_today: Annotated[float, Field(ge=0)]


class Window(_Payload):
    """One message of the history stream."""

    schema_: Annotated[str, Field(alias="schema", pattern=r"^fer\.window/1(\.\d{1,4})?$")]
    agent: Id
    site: Id
    room: Id
    epoch: Epoch
    seq: Annotated[int, Field(ge=1, lt=2**53)]
    boot_id: Text
    start_ms: Millis
    end_ms: Millis
    mono_start_ns: Annotated[int, Field(ge=0, lt=2**63)]
    clock: Clock
    seats: Annotated[int, Field(ge=0, le=10_000)]
    n_eff: Annotated[float, Field(ge=0, le=10_000)]
    coverage: Fraction
    frames: Annotated[int, Field(ge=0, lt=2**31)]
    suppressed: Text | None = None
    engagement: Engagement | None = None
    valence: Signed | None = None
    arousal: Signed | None = None
    expressivity: Points | None = None
    shares: dict[str, Fraction] | None = None
    dp: Noise | None = None
    model: Model
    calibration_id: Text | None = None
    replay: bool = False
    partial: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> "Window":
        if self.suppressed is None and self.engagement is None:
            raise ValueError("expected a result or the reason why there is none")
        results = (self.engagement, self.valence, self.arousal, self.expressivity, self.shares)
        if self.suppressed is not None and any(r is not None for r in results):
            raise ValueError("a suppressed window must not carry a result")
        if self.shares is not None and not set(LABELS) <= set(self.shares):
            raise ValueError("expected a share for each of the eight emotions")
        if self.shares is not None and abs(sum(self.shares[label] for label in LABELS) - 1) > _OFF_BY:
            raise ValueError("expected shares that sum to 1")
        if self.start_ms > self.end_ms:
            raise ValueError("expected start_ms <= end_ms")
        return self


class Status(_Payload):
    """Birth or will."""

    state: Literal["init", "ready", "degraded", "paused", "disconnected", "lost"]
    reason: Text | None = None
    session: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    boot_id: Text | None = None
    epoch: Epoch | None = None
    newest_seq: Counter = 0
    """Last sequence number in use: shows a hole at the end of the stream."""


class Forgotten(_Payload):
    """A cleared status: the room was removed, and is nobody's present any more. What it said before is history."""


class Cleared(_Payload):
    """A cleared meta, of a room that was removed or of a device that was moved. The status says what is to be done."""


class MetaModel(_Payload):
    """The network."""

    id: Text
    backend: Text | None = None


class Meta(_Payload):
    """What is running."""

    version: Text | None = None
    model: MetaModel | None = None
    window_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    privacy_profile: Text | None = None
    k_min: Annotated[int, Field(ge=1, le=10_000)] | None = None
    calibration_id: Text | None = None


class Stage(_Payload):
    """Cost of one stage, milliseconds."""

    p50: float | None = None
    p95: float | None = None


class Health(_Payload):
    """How the machine does."""

    at_ms: Millis | None = None
    fps: float | None = None
    stages: Annotated[dict[Annotated[str, Field(max_length=64)], Stage], Field(max_length=50)] | None = None
    spool_windows: Counter | None = None
    spool_bytes: Counter | None = None
    temperature_c: float | None = None
    rss_mb: float | None = None
    backend: Text | None = None


class Sent(_Payload):
    """What numbers the answer to a `resend` is about."""

    from_: Annotated[Counter, Field(alias="from")]
    to: Counter


class Reply(_Payload):
    """What an agent says to `resend`."""

    ok: bool
    result: Sent | None = None


class Event(_Payload):
    """Something that happened once."""

    kind: Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
    reason: Text = ""
    detail: Text | None = None
    at_ms: Millis | None = None


class Gap(_Payload):
    """A declared loss: these windows do not exist any more."""

    epoch: Epoch | None = None
    from_: Annotated[Counter, Field(alias="from")]
    to: Counter
    reason: Text = ""
    at_ms: Millis | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Gap":
        if self.to < self.from_:
            raise ValueError("expected from <= to")
        return self


@dataclass(frozen=True, slots=True)
class Source:
    """Who published: the topic says it, and the broker's ACL is what makes it true."""

    site: str
    room: str
    agent: str


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted message."""

    source: Source
    kind: str
    """Last part(s) of the topic: "window", "status", "meta", "event", "health", "rsp/resend"."""
    value: Window | Status | Forgotten | Meta | Cleared | Health | Reply | Event | Gap
    retained: bool = False
    """A copy that the broker had kept: nobody says this now."""
    correlation: bytes | None = None
    """Of a reply: which question it answers."""

    @property
    def place(self) -> Source:
        """Whose history it belongs to: a late window to the room that it was made in, whatever room its device is in
        now."""
        w = self.value
        return Source(w.site, w.room, w.agent) if isinstance(w, Window) else self.source


class Refused(Exception):
    """Not the contract's. The text names the kind of fault, never the content."""


def split_topic(topic: str) -> tuple[Source, str]:
    """Return who published and the rest of the topic; raise Refused for any other shape."""
    parts = topic.split("/", 5)
    if len(parts) != 6 or parts[0] != "fer" or parts[1] != "v1" or not all(map(ID.fullmatch, parts[2:5])):
        raise Refused("topic")
    if parts[4] in NO_AGENTS:
        raise Refused("agent")
    return Source(*parts[2:5]), parts[5]


def parse_message(topic: str, payload: bytes, *, retained: bool = False, correlation: bytes | None = None) -> Message:
    """Check one message. Raises Refused; never anything else, whatever the bytes are."""
    source, kind = split_topic(topic)
    if len(payload) > MAX_BYTES:
        raise Refused("size")
    try:
        value = _parse(kind, payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        # The first part is a field of ours; further ones may be the sender's own words.
        where = ".".join(str(part) for part in first["loc"][:1])
        raise Refused(f"{first['type']} {where}".strip()) from None
    except RecursionError:
        raise Refused("depth") from None
    message = Message(source, kind, value, retained, correlation)
    # What waited in a device while it was moved to another room comes by the new room's topic. Its id stays: the
    # broker's ACL answers for that alone.
    moved = isinstance(value, Window) and value.replay and value.agent == source.agent
    if message.place != source and not moved:
        raise Refused("identity")
    return message


def _parse(kind: str, payload: bytes) -> Any:
    if kind in ("window", "last"):
        return Window.model_validate_json(payload)
    if kind == "status":
        if not payload:
            return Forgotten()
        return Status.model_validate_json(payload)
    if kind == "meta" and not payload:
        return Cleared()
    if kind == "event":
        return _parse_event(payload)
    if kind in _KINDS:
        return _KINDS[kind].model_validate_json(payload)
    raise Refused("kind")


def _parse_event(payload: bytes) -> Any:
    event = Event.model_validate_json(payload)
    return Gap.model_validate_json(payload) if event.kind == "gap" else event


_KINDS: Final = {"meta": Meta, "health": Health, "rsp/resend": Reply}
