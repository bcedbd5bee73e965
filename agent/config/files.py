"""Files and folders that the configuration names: finds them, and refuses secrets that others can read."""

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.config import Settings
from agent.config.lines import Key
from agent.insight.policy import MARKS
from agent.vision.model_card import MODELS

_FILES: Final = ("password_file", "ca_file", "cert_file", "key_file")
_SECRETS: Final = ("password_file", "key_file")
_SHARED: Final = {"state_dir": "/var/lib/fer-agent", "pause_file": "/run/fer-agent/pause"}
"""Names that people, other commands and the service must mean the same by: absolute, wherever each of them stands."""


def resolve_files(settings: Settings, path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return `settings` with relative names of files made absolute; names of the package's own models and weight
    tables stay names.

    A relative name is looked for in systemd's credentials ($CREDENTIALS_DIRECTORY), else it stands beside the
    configuration file. Not so the state folder and the pause file, which are no files to be found: `check_files`
    refuses relative ones.
    """
    folder = (path.parent if path else Path()).absolute()
    credentials = environ.get("CREDENTIALS_DIRECTORY")

    def found(file: Path) -> Path:
        if credentials and _is(Path.is_file, Path(credentials) / file):
            return Path(credentials) / file
        return folder / file

    named = {name: getattr(settings.mqtt, name) for name in _FILES}
    mqtt = settings.mqtt.model_copy(update={name: found(file) for name, file in named.items() if file is not None})
    engagement, classify = settings.engagement, settings.classify
    if engagement.calibration is not None:
        engagement = engagement.model_copy(update={"calibration": found(engagement.calibration)})
    if engagement.weights.endswith(".toml"):
        engagement = engagement.model_copy(update={"weights": str(folder / engagement.weights)})
    beside = "/" in classify.model or _is(Path.is_dir, folder / classify.model)
    if beside and not _is(Path.is_dir, MODELS / classify.model):
        classify = classify.model_copy(update={"model": str(folder / classify.model)})
    return settings.model_copy(update={"mqtt": mqtt, "engagement": engagement, "classify": classify})


def check_files(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[Key, str]]:
    """Yield (key, what is wrong with a name, or with who can read the file)."""
    for key, name in named(settings):
        if what := _unusable(name):
            yield key, what
        elif key[-1] in _SHARED and not Path(name).is_absolute():
            yield key, f'expected a path from "/" on, such as "{_SHARED[str(key[-1])]}", got "{name}"'
    for name in _SECRETS:
        file: Path | None = getattr(settings.mqtt, name)
        if file is not None and _is(Path.is_dir, file):
            yield ("mqtt", name), f"expected a file, got the folder {file}"
        elif file is not None and (mode := _mode(file)) is not None and mode & _closed_to(file, environ):
            what = f"expected a secret that only its owner can read, got {file} with mode {mode:04o}"
            yield ("mqtt", name), f"{what}; run: chmod 600 {file}"


def named(settings: Settings) -> Iterator[tuple[Key, str | Path]]:
    """Yield what names a file or folder, or may."""
    mqtt, classify, camera = settings.mqtt, settings.classify, settings.camera
    yield ("agent", "state_dir"), settings.agent.state_dir
    yield ("camera", "source"), camera.source
    yield ("classify", "model"), classify.model
    yield ("engagement", "weights"), settings.engagement.weights
    if settings.engagement.calibration is not None:
        yield ("engagement", "calibration"), settings.engagement.calibration
    yield ("privacy", "pause_file"), settings.privacy.pause_file
    for name in _FILES:
        if (file := getattr(mqtt, name)) is not None:
            yield ("mqtt", name), file


def _unusable(name: str | Path) -> str | None:
    """Return why no file can have this name; None if one can, there or not, closed to this user or not: whoever opens
    it says so. A camera's address or pipeline may be as long as it likes."""
    if "\0" in str(name):
        return "expected the name of a file, got one with a NUL byte in it"
    if isinstance(name, str) and any(mark in name for mark in MARKS):
        return None
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        return f"expected the name of a file that can be looked at, got: {error.strerror}"
    return None


def _is(kind: Callable[[Path], bool], file: Path) -> bool:
    """Return `kind(file)`; False for what cannot be looked at (`check_files`, or whoever opens it, says why)."""
    try:
        return kind(file)
    except (OSError, ValueError):
        return False


def _closed_to(file: Path, environ: Mapping[str, str]) -> int:
    """Return the permission bits that must be off. In the service manager's own folder the group's bits are those of
    an access list that names the agent alone (systemd 254 and later)."""
    return 0o007 if str(file.parent) == environ.get("CREDENTIALS_DIRECTORY") else 0o077


def _mode(file: Path) -> int | None:
    """Return the permission bits; None if the file cannot be seen (whoever connects will say so)."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except (OSError, ValueError):
        return None
