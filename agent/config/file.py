"""Reads agent.toml, conf.d/*.toml and the environment into `agent.config.Settings`; reports every error at once.

Later wins: defaults, agent.toml, conf.d/*.toml beside it in the order of their names, FER_AGENT__SECTION__KEY
variables, the command line. Tables are merged key by key; lists are replaced whole.
"""

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agent.config import Settings, syntax
from agent.config.environment import PREFIX, unused
from agent.config.files import check_files, resolve_files
from agent.config.lines import Key, line_of, locate
from agent.config.together import check_together
from agent.config.words import did_you_mean, expected, fields, toml, without_login
from agent.device.unit import is_the_service
from agent.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/fer-agent/agent.toml")
_MAX_BYTES: Final = 1_000_000
"""A configuration larger than this is a mistake, and would only be slow to parse."""
_WORTH_SHOWING: Final = 60
"""Characters of a wrong value that an error shows."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the configuration."""

    where: str
    """"FILE:LINE", or the name of the environment variable."""
    key: str
    """Dotted, e.g. "camera.fps"; "" if it is about the whole file."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.what}" if self.key else f"{self.where}: {self.what}"


class SettingsError(ConfigError):
    """The configuration is wrong; `problems` holds everything that is, one line each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True)
class Loaded:
    """A configuration that is valid, and where each of its values came from."""

    settings: Settings
    origins: Mapping[Key, str]
    """Key → "FILE:LINE", the variable's name or "command line"; a key that is absent has its default."""
    files: tuple[Path, ...]
    """Files that were read, in order."""
    warnings: tuple[str, ...] = ()
    """What sets nothing, although it looks so."""

    def where(self, dotted: str) -> str | None:
        """Return where a key, what holds it or what is in it was set; None for what has its default."""
        return _nearest(tuple(dotted.split(".")), self.origins)


@dataclass
class _Draft:
    """What was read so far, before it is validated."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    places: dict[Key, str] = field(default_factory=dict)
    """Key → "FILE:LINE" of tables and of what stands inside lists."""
    from_text: set[Key] = field(default_factory=set)
    """Keys whose value came as a string of the environment, so that "2" may mean 2."""

    def set(self, key: Key, value: Any, origin: str) -> None:
        """Put `value` at `key`, over what an earlier file put there; an empty table changes nothing."""
        node = self.values
        for part in key[:-1]:
            if not isinstance(node.get(str(part)), dict):
                node[str(part)] = {}
            node = node[str(part)]
        if value == {} and isinstance(node.get(str(key[-1])), dict):
            return
        self._forget(key)
        node[str(key[-1])] = value
        self.origins[key] = origin

    def _forget(self, key: Key) -> None:
        for table in (self.origins, self.places):
            for known in [k for k in table if k[: len(key)] == key]:
                del table[known]
        self.from_text.discard(key)

    def origin(self, key: Key) -> str:
        """Return where `key`, or the nearest thing that holds it, was set."""
        return _nearest(key, self.places | self.origins) or "configuration"


def _nearest(key: Key, origins: Mapping[Key, str]) -> str | None:
    """Return where `key`, or the nearest thing that holds it, was set; else the first thing in it; None if nothing."""
    for length in range(len(key), 0, -1):
        if found := origins.get(key[:length]):
            return found
    return next((where for known, where in origins.items() if known[: len(key)] == key), None)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Return the valid configuration.

    Parameters
    ----------
    path : agent.toml; None reads no file
    environ : variables of the environment; None takes this process' own
    overrides : dotted keys that the command line sets, e.g. {"camera.fps": 2}

    Raises
    ------
    SettingsError
        anything is wrong; it names everything that is
    """
    environ = os.environ if environ is None else environ
    draft = _Draft()
    for file in _files(path):
        _read(file, draft)
    _read_environment(environ, draft)
    for dotted, value in (overrides or {}).items():
        draft.set(tuple(dotted.split(".")), value, "command line")
    settings = _validate(draft)
    if settings is not None:
        settings = resolve_files(settings, path, environ)
        wrong = (*check_together(settings), *check_files(settings, environ))
        draft.problems.extend(Problem(draft.origin(key), ".".join(map(str, key)), what) for key, what in wrong)
    if draft.problems or settings is None:
        raise SettingsError(sorted(draft.problems, key=_in_order))
    return Loaded(settings, draft.origins, tuple(draft.files), tuple(unused(environ)))


def _files(path: Path | None) -> Iterator[Path]:
    """Yield the files in the order in which they count."""
    if path is None:
        return
    yield path
    folder = path.parent / "conf.d"
    try:  # not glob, which takes a folder that it may not read for an empty one: a schedule would be gone
        yield from sorted(file for file in folder.iterdir() if file.suffix == ".toml")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield folder  # whoever reads it says why not


def _read(path: Path, draft: _Draft) -> None:
    """Merge one TOML file into `draft`."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise ConfigError(f"expected at most {_MAX_BYTES} bytes, got more")
        text = raw.removeprefix(codecs.BOM_UTF8).decode()  # Windows' Notepad begins a file with one
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        what = f"expected TOML, got a syntax error: {error}{syntax.mend(error, text)}"
        draft.problems.append(Problem(f"{path}:{line}", "", what))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        draft.problems.append(Problem(f"{path}:{line}", "", f"expected UTF-8 text, got byte {raw[error.start]:#04x}"))
    except RecursionError:
        draft.problems.append(Problem(f"{path}:1", "", "expected tables two levels deep, got endless nesting"))
    except OSError as error:
        draft.problems.append(Problem(f"{path}:1", "", _unreadable(path, error)))
    except ConfigError as error:
        draft.problems.append(Problem(f"{path}:1", "", str(error)))
    else:
        draft.files.append(path)
        lines = locate(text)
        for key, value in _leaves(tree):
            draft.set(key, value, f"{path}:{line_of(lines, key)}")
        draft.places.update({k: f"{path}:{line}" for k, line in lines.items() if k not in draft.origins})


def _unreadable(path: Path, error: OSError) -> str:
    """Return why a configuration cannot be read, and what helps."""
    if isinstance(error, IsADirectoryError):
        mend = "rename it" if path.parent.name == "conf.d" else f"name the file in it: {path / DEFAULT_PATH.name}"
        return f"expected a file, got a folder; {mend}"
    mend = ""
    if isinstance(error, FileNotFoundError):
        mend = "; `fer-agent config init` writes a new one"
    elif isinstance(error, PermissionError):
        ours = f"the service's user must read it: sudo chgrp fer-agent {path}; sudo chmod g+r {path}"
        mend = f"; {ours}" if is_the_service() else "; run it with sudo"
    return f"expected a readable file, got: {error.strerror}{mend}"


def _leaves(tree: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield (key, value) of everything that is not a table; an empty table is a value too."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _read_environment(environ: Mapping[str, str], draft: _Draft) -> None:
    """Merge FER_AGENT__SECTION__KEY variables into `draft`; names of keys are not case-sensitive."""
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        key: Key = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if "" in key:
            draft.problems.append(Problem(name, "", f"expected {PREFIX}SECTION__KEY"))
            continue
        value: Any = environ[name]
        if (fields(key) or {}).get("type") in ("array", "object"):
            try:
                value = tomllib.loads(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError:
                draft.problems.append(Problem(name, ".".join(map(str, key)), f"expected a TOML list, got {value!r}"))
                continue
        draft.set(key, value, name)
        draft.from_text.add(key)


def _validate(draft: _Draft) -> Settings | None:
    """Return the settings; None, and the problems in `draft`, if they are wrong."""
    for key, value in _leaves(draft.values):
        if key not in draft.from_text and _wrong_kind(key, value):
            draft.problems.append(_problem("type", key, value, draft))
    try:
        return Settings.model_validate(draft.values)
    except ValidationError as error:
        found = [_problem(one["type"], one["loc"], one["input"], draft) for one in error.errors()]
        draft.problems.extend(problem for problem in found if problem not in draft.problems)
        return None


def _wrong_kind(key: Key, value: Any) -> bool:
    """Say whether pydantic would take `value` for something else: "2" for 2, or 1 for true. In a file that is wrong."""
    node = fields(key) or {}
    kinds = {node.get("type"), *(branch.get("type") for branch in node.get("anyOf", ()))}
    if isinstance(value, str | bool):
        return bool(kinds & {"number", "integer"}) and not kinds & {"string", "boolean"}
    return "boolean" in kinds and not isinstance(value, bool)


def _problem(kind: str, location: Key, value: Any, draft: _Draft) -> Problem:
    """Return pydantic's complaint in this project's words."""
    key = location
    while kind != "extra_forbidden" and fields(key) is None and len(key) > 1:
        key = key[:-1]  # branches of a union are in pydantic's location, not in the file
    where, dotted = draft.origin(key), ".".join(map(str, key))
    if kind == "extra_forbidden":
        return Problem(where, dotted, f"unknown key{did_you_mean(key)}")
    if kind == "missing":
        return Problem(where, dotted, f"expected {expected(fields(key) or {})}, got nothing")
    if isinstance(value, dict) and (fields(key) or {}).get("type") == "array":
        what = f"expected [[{dotted}]], with two brackets, before each entry, got a single table; write [[{dotted}]]"
        return Problem(where, dotted, what)
    return Problem(where, dotted, f"expected {expected(fields(key) or {})}, got {_shown(value)}")


def _in_order(problem: Problem) -> tuple[str, int, str]:
    """Return what sorts problems as people read them: by file, then by line as a number."""
    file, _, line = problem.where.rpartition(":")
    return (file, int(line), problem.key) if line.isdecimal() else (problem.where, 0, problem.key)


def _shown(value: Any) -> str:
    """Return a wrong value without a camera's login, cut to what helps."""
    text = without_login(toml(value))
    return text if len(text) <= _WORTH_SHOWING else text[:_WORTH_SHOWING] + "…"
