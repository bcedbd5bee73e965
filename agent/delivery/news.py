"""What the courier is told by the rest of the agent."""

from dataclasses import dataclass

from agent.delivery import link, payload, wire


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message that is not in the spool."""

    topic: str
    """Whole."""
    body: bytes
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """A window closed; it, and gaps declared with it, lie at these positions of the spool."""

    positions: list[int]


@dataclass(frozen=True, slots=True)
class SetState:
    """What the agent says of itself."""

    state: wire.State
    reason: str | None


@dataclass(frozen=True, slots=True)
class SetMeta:
    """What runs has changed."""

    made_by: payload.Provenance


@dataclass(frozen=True, slots=True)
class Stop:
    """Send what is left and say goodbye; `failed`: go down with the will."""

    failed: bool


News = link.Note | Closing | Parcel | SetState | SetMeta | Stop
