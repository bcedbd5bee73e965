"""The support bundle: what helps to find a fault, in one archive, without a secret, a pixel or a person.

Law: only what is named here goes in, never a folder as a whole; every text passes `redact`.
"""

import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from agent.config import Settings
from agent.config.file import Loaded
from agent.config.text import shown
from agent.config.words import without_login
from agent.device import check_host, thermal
from agent.device.checks import run
from agent.device.memory import rss_bytes
from agent.errors import CannotWriteError, FerAgentError

_LOG_LINES: Final = 2000
_MOST_BYTES: Final = 2_000_000
"""Largest single file in the bundle."""
_HIDDEN: Final = "«hidden»"
_SECRET_KEYS: Final = ("mqtt.username", "policy.controller", "policy.consent")
"""Settings that name people or accounts."""
_PATTERNS: Final = (
    (
        re.compile(
            r"(?i)(?<![a-z])(pass(?:word|wd|phrase)?|secret|token|api[_-]?key|authorization)(\s*[=:]\s*)"
            r"(\"[^\"]*\"|'[^']*'|\S+)"
        ),
        rf"\1\2{_HIDDEN}",
    ),
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), _HIDDEN),
)


def redact(text: str) -> str:
    """Return `text` without what looks like a secret: logins in addresses too."""
    text = without_login(text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def write(target: Path, loaded: Loaded, status: Callable[[], dict[str, Any]]) -> list[str]:
    """Write the archive (tar.gz, readable by its owner alone) and return the names in it.

    status : asks the running agent; whatever it raises is noted in its place

    Raises
    ------
    CannotWriteError
        there is no place for it
    """
    files = _files(loaded, status)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
                for name, text in files.items():
                    _add(archive, name, _without(redact(text), loaded.settings.mqtt.username))
        except BaseException:  # half an archive would stand in the next one's way
            target.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CannotWriteError(f"{target}: expected a place for a new file, got: {error.strerror}") from error
    return list(files)


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode("utf-8", "replace")[:_MOST_BYTES]
    info = tarfile.TarInfo(f"fer-agent-support/{name}")
    info.size, info.mtime, info.mode = len(content), int(time.time()), 0o600
    archive.addfile(info, io.BytesIO(content))


def _without(text: str, user: str | None) -> str:
    """Return `text` without the broker's user name where it stands as a word: the agent's own lines name it."""
    return re.sub(rf"(?<![\w/]){re.escape(user)}(?![\w/])", _HIDDEN, text) if user else text


def _files(loaded: Loaded, status: Callable[[], dict[str, Any]]) -> dict[str, str]:
    """Return name → text of everything that goes in."""
    settings = loaded.settings
    return {
        "config.json": _json(_settings(loaded)),
        "doctor.json": _json([asdict(finding) for finding in run(check_host.checks(settings))]),
        "status.json": _guarded(lambda: _json(status())),
        "system.json": _json(_system()),
        "packages.txt": "\n".join(sorted(f"{d.name} {d.version}" for d in metadata.distributions())),
        "state-files.txt": _listing(settings),
        "journal.txt": _output("journalctl", "-u", "fer-agent", "-n", str(_LOG_LINES), "--no-pager", "-o", "short-iso"),
        "unit.txt": _output(
            "systemctl", "show", "fer-agent", "--no-pager", "-p", "ActiveState,SubState,Result,NRestarts"
        ),
    }


def _settings(loaded: Loaded) -> list[dict[str, Any]]:
    rows = shown(loaded)
    return [{**row, "value": _HIDDEN} if row["value"] and row["key"] in _SECRET_KEYS else row for row in rows]


def _system() -> dict[str, Any]:
    heat = thermal.read()
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "") if Path("/etc/os-release").exists() else "",
        "model": _guarded(lambda: Path("/proc/device-tree/model").read_text().rstrip("\0")),
        "temperature_c": heat.temperature_c,
        "under_voltage": heat.under_voltage,
        "load": os.getloadavg(),
        "rss_bytes_of_this_command": rss_bytes(),
    }


def _listing(settings: Settings) -> str:
    """Return names, sizes and ages of the state's files: never what is in them."""
    folder = settings.agent.state_dir
    rows = []
    for path in sorted(folder.rglob("*"))[:1000] if folder.is_dir() else []:
        try:
            facts = path.lstat()
        except OSError:
            continue
        rows.append(f"{facts.st_size:>12} {time.time() - facts.st_mtime:>12.0f} s old  {path.relative_to(folder)}")
    return "\n".join(rows) or f"{folder}: nothing to be seen"


def _output(*command: str) -> str:
    """Return what a command says; why not, if it cannot be run."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not here"
    return _guarded(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=30, errors="replace").stdout
    )


def _guarded(make: Callable[[], str]) -> str:
    try:
        return make()
    except (OSError, FerAgentError, subprocess.SubprocessError) as error:
        return f"not available: {error}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
