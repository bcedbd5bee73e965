"""Summary → payload: pure functions that build what the contract says, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent import __version__, records
from agent.config import Settings
from agent.config.words import without_login
from agent.delivery import wire
from agent.delivery.topics import Topics
from agent.delivery.wallclock import WallTime
from agent.emotions import LABELS

MAX_BYTES: Final = 4096
"""Largest payload that the agent sends, bytes: fits every broker's and every small consumer's buffer."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the numbers; travels in `meta` and, in short, in every window."""

    model_id: str
    model_sha256: str
    backend: str
    """What runs the network: "litert", "tflite-runtime", "edgetpu", …"""
    calibration_id: str | None
    window_s: float
    """Window length, seconds."""
    privacy_profile: str
    k_min: int
    """Fewest people behind a result."""
    weights_id: str
    labels: tuple[str, ...] = LABELS
    config_hash: str = ""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: one run of one agent."""

    topics: Topics
    boot_id: str
    """Random for each run of the process."""
    started_ms: int
    """When the process started, UTC milliseconds."""
    who: dict[str, Any] = field(init=False)
    """The three ids, as every payload carries them."""

    def __post_init__(self) -> None:
        t = self.topics
        object.__setattr__(self, "who", {"agent": t.agent, "site": t.site, "room": t.room})


def config_hash(settings: Settings) -> str:
    """First 16 hex digits of the SHA-256 of the settings without user names, logins and paths of secrets."""
    dump = settings.model_dump(mode="json", exclude={"mqtt": {"username", "password_file", "key_file"}})
    # A hash of a known text and a short password would give the password away.
    dump["camera"]["source"] = without_login(settings.camera.source)
    return hashlib.sha256(json.dumps(dump, sort_keys=True).encode()).hexdigest()[:16]


def window(
    summary: records.Summary, speaker: Speaker, made_by: Provenance, start: WallTime, *, epoch: str, seq: int
) -> wire.Window:
    """One window's payload. Results are absent, not null, when it is suppressed."""
    duration_ms = round((summary.end - summary.start) * 1000)
    return wire.Window(
        schema="fer.window/1.0",
        **speaker.who,
        epoch=epoch,
        seq=seq,
        boot_id=speaker.boot_id,
        start_ms=start.utc_ms,
        end_ms=start.utc_ms + duration_ms,
        mono_start_ns=round(summary.start * 1e9),
        clock=wire.Clock(synced=start.synced, source=start.source),
        seats=summary.seats,
        n_eff=_round(summary.n_eff),
        coverage=_round(summary.coverage),
        frames=summary.frames,
        partial=summary.partial,
        suppressed=summary.suppressed,
        model=wire.ModelRef(id=made_by.model_id, sha256=made_by.model_sha256, backend=made_by.backend),
        calibration_id=made_by.calibration_id,
        replay=False,
        **_result(summary),
    )


def _result(summary: records.Summary) -> dict[str, Any]:
    """The fields that only an unsuppressed window has."""
    e = summary.engagement
    if e is None:  # suppressed: a `Summary` sees to it that then nothing else is there either
        return {}
    ci95 = None if e.ci95 is None else (_round(e.ci95[0]), _round(e.ci95[1]))
    delta = None if e.delta is None else _round(e.delta)
    result: dict[str, Any] = {
        "engagement": wire.Engagement(value=_round(e.value), ci95=ci95, delta=delta, weights_id=e.weights_id),
        "dp": None,
    }
    for name in ("valence", "arousal", "expressivity"):
        if (value := getattr(summary, name)) is not None:
            result[name] = _round(value)
    if summary.shares is not None:
        result["shares"] = wire.Shares(**dict(zip(LABELS, map(_round, summary.shares), strict=True)))
    if (n := summary.noise) is not None:
        result["dp"] = wire.Dp(epsilon=n.epsilon, mechanism=n.mechanism, spent_today=_round(n.spent_today))
    return result


def _round(value: float) -> float:
    """Four decimals: more would be noise on the wire."""
    return round(float(value), 4)


def replayed(payload: bytes) -> bytes:
    """The same window, flagged as a late delivery."""
    return json.dumps(json.loads(payload) | {"replay": True}, separators=(",", ":")).encode()


def renumbered(payload: bytes, epoch: str, seq: int) -> bytes:
    """The same window under another number."""
    return json.dumps(json.loads(payload) | {"epoch": epoch, "seq": seq}, separators=(",", ":")).encode()


def status(
    speaker: Speaker, state: wire.State, reason: str | None, *, session: int, epoch: str, newest_seq: int
) -> wire.Status:
    """Birth, will or change of state."""
    return wire.Status(
        schema="fer.status/1.0",
        **speaker.who,
        state=state,
        reason=None if reason is None else reason[:200],
        session=session,
        boot_id=speaker.boot_id,
        started_ms=speaker.started_ms,
        epoch=epoch,
        newest_seq=newest_seq,
    )


def meta(speaker: Speaker, made_by: Provenance) -> wire.Meta:
    """What is running."""
    return wire.Meta(
        schema="fer.meta/1.0",
        **speaker.who,
        boot_id=speaker.boot_id,
        version=__version__,
        model=wire.MetaModel(
            id=made_by.model_id, sha256=made_by.model_sha256, backend=made_by.backend, labels=made_by.labels
        ),
        window_s=made_by.window_s,
        privacy_profile=made_by.privacy_profile,
        k_min=made_by.k_min,
        weights_id=made_by.weights_id,
        calibration_id=made_by.calibration_id,
        config_hash=made_by.config_hash,
    )


def event(speaker: Speaker, kind: str, reason: str, at_ms: int, **more: Any) -> wire.Event:
    """Something that happened once; `more` are the optional fields of `wire.Event`, aliases included."""
    body = {"schema": "fer.event/1.0", **speaker.who, "boot_id": speaker.boot_id, "kind": kind, "reason": reason}
    return wire.Event.model_validate(body | {"at_ms": at_ms} | more)


def health(speaker: Speaker, at_ms: int, more: Mapping[str, Any]) -> wire.Health:
    """How the machine does; `more` are the other fields of `wire.Health`."""
    return wire.Health.model_validate({"schema": "fer.health/1.0", **speaker.who, "at_ms": at_ms, **more})


def gap_event(speaker: Speaker, epoch: str, gap: bytes, at_ms: int) -> wire.Event:
    """The event for a gap entry of the spool."""
    what = json.loads(gap)
    return event(speaker, "gap", what.pop("reason"), at_ms, epoch=epoch, **what)
