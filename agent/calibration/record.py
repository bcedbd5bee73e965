"""calibration.json: what `fer-agent calibrate` measured, numbers only. Written whole, checked whole, refused whole.

    calibration = record.load_for(settings, bundle, record.path_of(settings))
    for line in calibration.warnings: log.warning(line)                    # expired, settings changed
    bundle = calibration.record.parts.applied_to(bundle)                   # probabilities re-fitted in this room
    Detector(…, limits=calibration.record.parts.limits)                    # None: the defaults
    WindowAggregator(…, baseline=calibration.baseline, prior_ratio=calibration.prior_ratio)
    settings = calibration.tuned(settings, written=loaded.origins)         # threads, tiles, batch; what is written wins
    Provenance(…, calibration_id=calibration.id)

`record.path_of(settings)` is where it lies; whether it must be there is the caller's to decide (`path.exists()`).
"""

import hashlib
import json
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agent import __version__, config
from agent.calibration.parts import Parts, Record
from agent.errors import CannotWriteError, ConfigError
from agent.insight import weights
from agent.trust.files import write_atomically
from agent.vision.model_card import Bundle

NAME: Final = "calibration.json"
FORMAT: Final = 1
"""Number of the format that this agent writes, and the newest that it reads."""
EXPIRES_DAYS: Final = 90
_DAY: Final = 86_400
_MAX_BYTES: Final = 100_000
_MODE: Final = 0o644
"""Numbers only, and the service reads what somebody else may have written."""
_LOGIN: Final = re.compile(r"(\w+://)[^/\s]*@|((?:user|login|pass|pwd|token|key|auth)\w*=)[^&/;#\s]*", re.IGNORECASE)
"""What may change while the camera stays. Never change it: calibrations would then be another camera's."""
_AGAIN: Final = "calibrate again: fer-agent calibrate"


class OtherModel(ConfigError):
    """The calibration was made for another model."""


@dataclass(frozen=True)
class Calibration:
    """A record that fits this model and this camera."""

    record: Record
    expired: bool
    """Older than `EXPIRES_DAYS` (or from the future, which is as good as unknown)."""
    warnings: tuple[str, ...]
    """What the operator should know, one line each; empty if all is well."""

    @property
    def id(self) -> str:
        """Return its name, e.g. "cal-20260301-1f0c9a2e"; travels in every window."""
        return self.record.id

    @property
    def baseline(self) -> float | None:
        """Return the room's resting index, 0-100 points, or None."""
        part = self.record.parts.baseline
        return part.index if part else None

    @property
    def prior_ratio(self) -> tuple[float, ...] | None:
        """Return eight factors on the probabilities (prior correction), or None where it is off."""
        part = self.record.parts.baseline
        return part.prior_ratio if part else None

    def ended(self, now: float) -> str | None:
        """Return what the operator should know once it is past its time, which an agent may outlive; None before."""
        if now < self.record.expires_at:
            return None
        return f"{self.id}: expired on {_date(self.record.expires_at)}; {_AGAIN}"

    def tuned(self, settings: config.Settings, written: Collection[tuple[Any, ...]] = ()) -> config.Settings:
        """Return `settings` with what the device part chose, except for keys that somebody wrote down themselves."""
        part = self.record.parts.device
        if part is None:
            return settings
        chosen = {
            "classify": {"threads": part.threads, "faces_per_frame": part.faces_per_frame},
            "detect": {"smallest_face_px": part.smallest_face_px},
        }
        stages = {
            stage: getattr(settings, stage).model_copy(
                update={key: value for key, value in values.items() if (stage, key) not in written}
            )
            for stage, values in chosen.items()
        }
        return settings.model_copy(update=stages)


def path_of(settings: config.Settings) -> Path:
    """Return where calibration.json lies: as configured, else in the state folder."""
    return settings.engagement.calibration or settings.agent.state_dir / NAME


def camera_hash(camera: config.Camera) -> str:
    """Return 16 hex digits that name a camera: its source without a login, and the size asked of it."""
    return _camera_hash(camera, _LOGIN.sub(r"\1\2", camera.source))


def _camera_hash(camera: config.Camera, source: str) -> str:
    return _hash({"source": source, "width": camera.width, "height": camera.height})


def setup_hash(settings: config.Settings) -> str:
    """Return 16 hex digits that change with the settings which measured numbers depend on."""
    return _hash({"threshold": settings.detect.threshold, "weights": settings.engagement.weights})


def made(parts: Parts, *, model_sha256: str, camera: str, setup: str, now: float, until: float | None = None) -> Record:
    """Return a record of `parts`, measured at `now` (seconds since 1970), under an id of its own.

    `until`: when parts taken over from an older record expire; the new one expires no later.
    """
    expires = round(now) + EXPIRES_DAYS * _DAY
    body = {
        "format": f"fer-calibration/{FORMAT}",
        "agent": __version__,
        "model_sha256": model_sha256,
        "camera": camera,
        "setup": setup,
        "made_at": round(now),
        "expires_at": expires if until is None else min(expires, round(until)),
        "parts": parts.model_dump(mode="json"),
    }
    return Record.model_validate({"id": _id(body), **body})


def save(path: Path, new: Record) -> Path | None:
    """Write `new` to `path`; the one before becomes calibration.previous.json, whose path is returned.

    A power cut leaves the old or the new one. A damaged old one does not replace a good previous one.

    Raises
    ------
    CannotWriteError
        the folder is absent, read-only or full; then the old one is untouched
    """
    text = json.dumps(new.model_dump(mode="json"), indent=1) + "\n"
    previous = path.with_name(f"{path.stem}.previous{path.suffix}")
    kept = None
    try:
        if path.exists():
            old = path.read_bytes()
            if _is_whole(old, path):
                write_atomically(previous, old, _MODE)
                kept = previous
        write_atomically(path, text.encode(), _MODE)
    except OSError as cause:
        raise CannotWriteError(f"{path}: expected a place to write the calibration, got: {cause.strerror}") from cause
    return kept


def load_for(settings: config.Settings, bundle: Bundle, path: Path) -> Calibration:
    """Return the calibration at `path` for the model and the settings that would run now; errors as `load`."""
    return load(
        path,
        model_sha256=bundle.card.sha256,
        camera=settings.camera,
        now=time.time(),
        weights_id=weights.load(settings.engagement.weights).fingerprint,
        setup=setup_hash(settings),
    )


def load(
    path: Path, *, model_sha256: str, camera: config.Camera, now: float, weights_id: str, setup: str
) -> Calibration:
    """Return the calibration in file `path`, if it is for this model and camera.

    Parameters
    ----------
    model_sha256 : of model.tflite that will run
    camera : the camera that will be opened
    now : seconds since 1970, UTC
    weights_id : fingerprint of the weight table in force; a baseline in the points of another one is refused, and one
        that does not say in which points of a school's own table it is, is a warning
    setup : `setup_hash` of the settings in force; a difference is a warning

    Raises
    ------
    ConfigError
        unreadable, cut off, changed, of a newer version, or made for another model (`OtherModel`), camera or weight
        table; one line
    """
    found = read(path)
    if found.model_sha256 != model_sha256:
        raise OtherModel(
            f"{path}: made for the model {found.model_sha256[:12]}…, running is {model_sha256[:12]}…; {_AGAIN}"
        )
    # Records of agents up to 0.1.0 hold a hash with the login.
    if found.camera not in (expected := camera_hash(camera), _camera_hash(camera, camera.source)):
        raise ConfigError(f"{path}: made for another camera or picture size ({found.camera}, not {expected}); {_AGAIN}")
    base = found.parts.baseline
    if base is not None and base.weights_id not in (weights_id, weights_id.partition("#")[0]):
        raise ConfigError(
            f"{path}: its baseline is in points of {base.weights_id!r}, in force is {weights_id!r}; "
            f"{_AGAIN} --part baseline"
        )
    expired = not found.made_at - _DAY <= now < found.expires_at
    return Calibration(found, expired, tuple(_warnings(path, found, now, setup, weights_id)))


def read(path: Path) -> Record:
    """Return the record in file `path`, whatever model and camera it is for. Raises ConfigError, one line."""
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise ConfigError(f"{path}: expected a calibration, got: {cause.strerror}; {_AGAIN}") from cause
    return _parsed(content, path)


def _parsed(content: bytes, path: Path) -> Record:
    again = f"{_AGAIN}, or take back {path.stem}.previous{path.suffix}"
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError("too long")
        fields = json.loads(content, parse_constant=_refuse)
        version = int(str(fields["format"]).removeprefix("fer-calibration/"))
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise ConfigError(f"{path}: expected a calibration, got a file that is cut off or damaged; {again}") from cause
    if version > FORMAT:
        raise ConfigError(
            f"{path}: made by a newer agent (format {version}, this one reads up to {FORMAT}); update the agent, or "
            f"{again}"
        )
    try:
        found = Record.model_validate(fields)
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {where}: {first['msg']}; {again}") from cause
    if found.id != _id({key: value for key, value in fields.items() if key != "id"}):
        raise ConfigError(f"{path}: its numbers are not those that were measured (id {found.id} does not fit); {again}")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"expected a number, got {constant}")


def _is_whole(content: bytes, path: Path) -> bool:
    try:
        _parsed(content, path)
    except ConfigError:
        return False
    return True


def _warnings(path: Path, found: Record, now: float, setup: str, weights_id: str) -> list[str]:
    lines = []
    if now >= found.expires_at:
        lines.append(f"{path}: expired on {_date(found.expires_at)}, made on {_date(found.made_at)}; {_AGAIN}")
    elif now < found.made_at - _DAY:
        lines.append(f"{path}: made on {_date(found.made_at)}, which is yet to come; set the clock, or {_AGAIN}")
    if setup != found.setup:
        lines.append(f"{path}: detect.threshold or engagement.weights changed since it was made; {_AGAIN}")
    base = found.parts.baseline
    if base is not None and base.weights_id != weights_id:
        lines.append(
            f"{path}: an older agent wrote its baseline, without the points of {base.weights_id!r}; if that table was "
            f"edited since, {_AGAIN} --part baseline"
        )
    return lines


def _id(body: dict[str, Any]) -> str:
    """Return the id of a record with these other fields: the day, and a hash that every number is part of."""
    return f"cal-{datetime.fromtimestamp(int(body['made_at']), UTC):%Y%m%d}-{_hash(body)[:8]}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
