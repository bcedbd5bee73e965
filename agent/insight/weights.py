"""Weight tables: what each emotion counts for, as named data. The packaged ones and a school's own TOML file."""

import difflib
import hashlib
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.emotions import LABELS
from agent.errors import ConfigError

DEFAULT: Final = "sharma2019-affine/1"

_Points = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class WeightTable:
    """What one sample of pure emotion c scores. Valid once built by `load`."""

    id: str
    """Name and version, e.g. "sharma2019-affine/1"; travels in every window."""
    source: str
    """Where the numbers come from, one line."""
    points: tuple[float, ...]
    """Eight weights in the order of `LABELS`, 0-100 points each."""

    def vector(self) -> npt.NDArray[np.float64]:
        """Return the weights as float64 array of shape (8,), 0-100 points."""
        return np.array(self.points)

    @property
    def fingerprint(self) -> str:
        """Return what a number in these points must be kept under: the id, and four digits of a hash where the id does
        not fix them, since a school may edit its own table ("school/1#9f3c"). At most 60 characters."""
        known = packaged().get(self.id)
        if known is not None and known.points == self.points:
            return self.id
        return f"{self.id}#{hashlib.sha256(repr(self.points).encode()).hexdigest()[:4]}"


class _Weights(BaseModel):
    model_config = ConfigDict(extra="forbid")

    neutral: _Points
    happiness: _Points
    surprise: _Points
    sadness: _Points
    anger: _Points
    disgust: _Points
    fear: _Points
    contempt: _Points


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,48}/[1-9][0-9]{0,5}$")]
    source: Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\n]*$")]
    weights: _Weights


def load(name: str) -> WeightTable:
    """Return the packaged table with this id, or the one in the TOML file at this path.

    Raises
    ------
    ConfigError
        no such id or file, no TOML, a missing or unknown key, a weight outside 0-100, all weights equal, or an
        id that a packaged table has already
    """
    known = packaged()
    if name in known:
        return known[name]
    if not name.endswith(".toml"):
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"engagement.weights: expected {', '.join(map(repr, known))} or the path of a .toml file, "
            f"got {name!r}{hint}"
        )
    table = _read(Path(name))
    if table.id in known and table != known[table.id]:
        raise ConfigError(f"{name}: id: {table.id!r} belongs to a packaged table; give your own weights their own id")
    return table


def packaged() -> dict[str, WeightTable]:
    """Return the tables that come with the package, by id."""
    folder = resources.files("agent.insight")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    tables = [_parse(f.read_text(encoding="utf-8"), f.name) for f in files]
    return {table.id: table for table in tables}


def _read(path: Path) -> WeightTable:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"engagement.weights: cannot read {path}: {cause}") from cause
    return _parse(text, str(path))


def _parse(text: str, where: str) -> WeightTable:
    try:
        parsed = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{where}: expected TOML, got: {cause}") from cause
    except ValidationError as cause:
        raise ConfigError(f"{where}: {_first_line(cause)}") from cause
    points = tuple(float(getattr(parsed.weights, label)) for label in LABELS)
    if max(points) == min(points):
        raise ConfigError(f"{where}: weights: expected at least two different values, got eight times {points[0]:g}")
    return WeightTable(parsed.id, parsed.source, points)


def _first_line(error: ValidationError) -> str:
    """Return the first complaint as "key: what was expected, what came"; of a misspelt key rather than that its right
    name is missing."""
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        allowed = LABELS if key.startswith("weights.") else ("id", "source", "weights")
        near = difflib.get_close_matches(str(first["loc"][-1]), allowed, 1)
        return f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else f"; expected {', '.join(allowed)}")
    if first["type"] == "missing":
        what = "eight numbers from 0 to 100 under [weights]" if key.startswith("weights") else "text"
        return f"{key}: missing; expected {what}"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
